"""One distillation from labels to bundle, on a task small enough to do in a second."""

from dataclasses import asdict

import numpy as np
import pytest

from students.certificate import NEVER
from students.distill.labelled import LabelledSet
from students.distill.run import STAGES, answer, distill
from students.errors import BadInputs
from students.labels import LabelSchema
from students.runtime.bundle import LabellingBill, find_bundle
from students.runtime.load import load_student
from students.task import Task
from students.teachers.protocol import TeacherDescriptor

TEACHER = TeacherDescriptor("classify", "scripted", "1", "", "{}")
SIZES = {"train": 600, "validation": 100, "temperature": 100, "calibration": 400, "test": 200}
WORDS = {
    "help": ["please", "send", "water", "food", "rescue", "trapped", "urgent", "medicine"],
    "other": ["thanks", "weather", "report", "news", "yesterday", "nice", "photo", "music"],
}


def labelled(noise: float = 0.0, seed: int = 0) -> LabelledSet:
    """Texts whose words say the label; the teacher answers at random for a share `noise`."""
    rng = np.random.default_rng(seed)
    n = sum(SIZES.values())
    names = tuple(WORDS)
    label = rng.integers(0, 2, n)
    texts = [" ".join(rng.choice(WORDS[names[y]], 4)) + f" {rng.integers(10**6)}" for y in label]
    answered = np.where(rng.random(n) < noise, rng.integers(0, 2, n), label)
    p = np.full((n, 2), 0.05, np.float32)
    p[np.arange(n), answered] = 0.95
    zero = np.zeros(n, np.float32)
    return LabelledSet(LabelSchema(names), tuple(texts), p, zero, zero > 1, label.astype(np.int32))


def splits() -> dict[str, np.ndarray]:
    """Rows of each split, in order."""
    ends = np.cumsum(list(SIZES.values()))
    return {name: np.arange(end - SIZES[name], end) for name, end in zip(SIZES, ends, strict=True)}


def task(tmp_path, **promise) -> Task:
    """A task with this promise and a quick student."""
    return Task.model_validate(
        {
            "name": "demo",
            "labels": list(WORDS),
            "teacher": {
                "mode": "classify",
                "base_url": "http://127.0.0.1:9",
                "model": "scripted",
                "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
            },
            "inputs": {"path": "none.csv"},
            "promise": promise,
            "student": {"epochs": 5, "temperatures": [1, 2], "hard_weights": [0]},
            "work_dir": tmp_path,
        }
    )


@pytest.mark.torch
def test_an_easy_task_is_distilled_certified_and_served_as_certified(tmp_path):
    """The bundle found again serves, keeps the promise and carries every measurement."""
    seen = []
    data = labelled()
    bill = LabellingBill(n=len(data), usd=0, price="free", self_agreement_n=50,
                         self_agreement_agreed=50, labels_sha256=data.sha256)  # fmt: skip
    done = distill(
        task(tmp_path, agreement=0.97), data, splits(), teacher=TEACHER, labelling=bill,
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
    assert len(m.trials) == 2
    assert asdict(m.teacher) == asdict(TEACHER)
    calibration = data.take(splits()["calibration"])
    said = answer(load_student(done.bundle), calibration.texts)
    kept = said.confidence >= np.array(m.thresholds)[said.labels]
    assert kept.sum() == m.certificate.n_accepted
    assert (kept & (said.labels != calibration.teacher)).sum() == m.certificate.disagreements


@pytest.mark.torch
def test_distilling_the_same_labels_again_is_the_same_artefact_and_the_same_use(tmp_path):
    """Deterministic by seed; a repeat spends no delta."""
    data = labelled(noise=0.02)
    first, again = (
        distill(task(tmp_path, agreement=0.9), data, splits(), teacher=TEACHER) for _ in range(2)
    )
    assert again.bundle.manifest.artefact_sha256 == first.bundle.manifest.artefact_sha256
    assert again.bundle.manifest.certificate.use == first.bundle.manifest.certificate.use == 1


@pytest.mark.torch
def test_a_promise_out_of_reach_is_refused_and_the_bundle_escalates_everything(tmp_path):
    """A teacher that answers at random cannot be matched: the feasible best is said, not hidden."""
    done = distill(
        task(tmp_path, agreement=0.99, promise="strict"), labelled(1.0), splits(), teacher=TEACHER
    )
    assert done.bundle.manifest.certificate is None
    assert done.bundle.manifest.thresholds == (NEVER, NEVER)
    assert done.bundle.manifest.evaluation.escalation.rate == 1.0
    assert done.refusal.raw_disagreement == pytest.approx(0.5, abs=0.1)
    assert "cannot certify 99.0%" in done.refusal.statement


def test_a_split_without_rows_is_named(tmp_path):
    """Every split has its own job: none may be empty."""
    rows = splits() | {"temperature": np.array([], np.int64)}
    with pytest.raises(BadInputs, match="split 'temperature'"):
        distill(task(tmp_path), labelled(), rows, teacher=TEACHER)


def test_labels_of_another_task_are_refused(tmp_path):
    """Label names must be those of the task, in its order."""
    other = task(tmp_path).model_copy(update={"labels": ["other", "help"]})
    with pytest.raises(BadInputs, match="labels were made for help, other"):
        distill(other, labelled(), splits(), teacher=TEACHER)
