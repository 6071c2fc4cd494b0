"""One distillation from labels to bundle, on a task small enough to do in a second."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from students.certificate import NEVER
from students.distill.answers import answer
from students.distill.run import STAGES, distill, take_parts
from students.errors import BadInputs
from students.runtime.bundle import LabellingBill, find_bundle
from students.runtime.load import load_student
from students.teachers.protocol import TeacherDescriptor

TEACHER = TeacherDescriptor("classify", "scripted", "1", "", "{}")


@pytest.mark.torch
def test_an_easy_task_is_distilled_certified_and_served_as_certified(
    tmp_path, make_labels, make_task, split_rows
):
    """The bundle found again serves, keeps the promise and carries every measurement."""
    seen = []
    data = make_labels()
    bill = LabellingBill(n=len(data), usd=0, price="free", self_agreement_n=50,
                         self_agreement_agreed=50, labels_sha256=data.sha256)  # fmt: skip
    task = make_task(tmp_path, agreement=0.97)
    done = distill(
        task, take_parts(task, data, split_rows), teacher=TEACHER, labelling=bill,
        report=lambda stage, *_: seen.append(stage),
    )  # fmt: skip
    assert done.refusal is None
    assert find_bundle(tmp_path) == done.bundle
    assert list(dict.fromkeys(seen)) == list(STAGES)
    m = done.bundle.manifest
    assert m.certificate.n_calibration == 400
    assert m.certificate.agreement_lower_bound >= 0.97
    assert m.evaluation.n == 200
    assert m.evaluation.self_agreement.rate == 1.0
    assert m.profile.texts_per_s > 0
    assert {t.temperature for t in m.trials} == {1, 2}
    assert {t.l2 for t in m.trials} == {0.01, 0, 0.1}
    assert {(t.terms, t.least_texts) for t in m.trials} == {
        ("counts", 2), ("sublinear", 2), ("sublinear", 1),
    }  # fmt: skip
    assert asdict(m.teacher) == asdict(TEACHER)
    calibration = data.take(split_rows["calibration"])
    said = answer(load_student(done.bundle), calibration.texts)
    kept = said.confidence >= np.array(m.thresholds)[said.labels]
    assert kept.sum() == m.certificate.n_accepted
    assert m.rungs == tuple(sorted(m.rungs))
    assert min(m.rungs) > min(m.certificate.thresholds)
    assert m.usual.escalated.shares[0] == pytest.approx(kept.mean(), abs=0.1)
    assert (kept & (said.labels != calibration.teacher)).sum() == m.certificate.disagreements


@pytest.mark.torch
def test_distilling_the_same_labels_again_is_the_same_artefact_and_the_same_use(
    tmp_path, make_labels, make_task, split_rows
):
    """Deterministic by seed; a repeat spends no delta."""
    task = make_task(tmp_path, agreement=0.9)
    part = take_parts(task, make_labels(noise=0.02), split_rows)
    first, again = (distill(task, part, teacher=TEACHER) for _ in range(2))
    assert again.bundle.manifest.artefact_sha256 == first.bundle.manifest.artefact_sha256
    assert again.bundle.manifest.certificate.use == first.bundle.manifest.certificate.use == 1


@pytest.mark.torch
def test_a_promise_out_of_reach_is_refused_and_the_bundle_escalates_everything(
    tmp_path, make_labels, make_task, split_rows
):
    """A teacher that answers at random cannot be matched: the feasible best is said, not hidden."""
    task = make_task(tmp_path, agreement=0.99, promise="strict")
    done = distill(task, take_parts(task, make_labels(1.0), split_rows), teacher=TEACHER)
    assert done.bundle.manifest.certificate is None
    assert done.bundle.manifest.thresholds == (NEVER, NEVER)
    assert done.bundle.manifest.evaluation.escalation.rate == 1.0
    assert done.refusal.raw_disagreement == pytest.approx(0.5, abs=0.1)
    assert "cannot certify 99.0%" in done.refusal.statement


@pytest.mark.torch
def test_unusable_answers_teach_nothing_and_count_as_disagreements(
    tmp_path, make_labels, make_task, split_rows
):
    """Refused texts vanished from the promise "of all answers"; ties of bounds were learnt."""
    data = make_labels()
    silent = np.zeros(len(data), bool)
    silent[split_rows["calibration"][:6]] = silent[split_rows["train"][:100]] = True
    data = replace(data, usable=~silent)
    parts = take_parts(make_task(tmp_path), data, split_rows)
    assert [len(parts[name]) for name in ("train", "calibration")] == [500, 400]
    assert parts["train"].usable.all()
    done = distill(make_task(tmp_path, agreement=0.95), parts, teacher=TEACHER)
    certificate = done.bundle.manifest.certificate
    assert (certificate.n_calibration, certificate.n_unusable) == (400, 6)
    assert 0 < certificate.disagreements <= 6
    assert "To 6 of the calibration rows the teacher gave no usable answer" in certificate.statement


def test_too_many_unusable_answers_make_no_student(tmp_path, make_labels, make_task, split_rows):
    """A prompt that mostly gets no label is to be corrected, not distilled."""
    data = make_labels()
    data = replace(data, usable=np.arange(len(data)) % 3 > 0)
    with pytest.raises(BadInputs, match="467 of 1,400 answers of the teacher mean no label"):
        take_parts(make_task(tmp_path), data, split_rows)


def test_a_split_without_rows_is_named(tmp_path, make_labels, make_task, split_rows):
    """Every split has its own job: none may be empty."""
    rows = split_rows | {"temperature": np.array([], np.int64)}
    with pytest.raises(BadInputs, match="split 'temperature'"):
        take_parts(make_task(tmp_path), make_labels(), rows)


def test_labels_of_another_task_are_refused(tmp_path, make_labels, make_task, split_rows):
    """Label names must be those of the task, in its order."""
    other = make_task(tmp_path).model_copy(update={"labels": ["other", "help"]})
    with pytest.raises(BadInputs, match="labels were made for help, other"):
        take_parts(other, make_labels(), split_rows)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["max_probability", "margin"])
def test_a_kind_of_confidence_that_the_task_names_is_taken(
    kind, make_task, make_labels, split_rows, tmp_path
):
    """Named, it is neither chosen nor changed, and the certificate is about it."""
    student = {"confidence": kind, "temperatures": [1], "l2": [0]}
    task = make_task(tmp_path, student=student, agreement=0.9)
    done = distill(task, take_parts(task, make_labels(), split_rows), teacher=TEACHER)
    m = done.bundle.manifest
    assert m.confidence == kind
    assert m.certificate.artefact_sha256 == m.artefact_sha256
    assert task.model_copy(deep=True).student.confidence == kind
    assert make_task(tmp_path).student.confidence is None
