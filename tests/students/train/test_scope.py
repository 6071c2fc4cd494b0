"""The out-of-scope gate: other texts have no confidence, its own keep theirs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from students.distill.answers import answer
from students.distill.run import distill, take_parts
from students.errors import BadBundle
from students.labels import LabelSchema
from students.runtime.load import load_student
from students.runtime.scope import SCOPE_FILE, GatedStudent, ScopeGate
from students.teachers.protocol import TeacherDescriptor
from students.testing import ScriptedStudent
from students.train.scope import fit_scope

WORDS = ("card", "payment", "transfer", "refund", "account", "balance", "fee", "limit", "bank")
OTHERS = ("storm", "flood", "bridge", "village", "rescue", "tent", "river", "shelter", "rain")


def texts(words, n, seed=0):
    """Texts of five of some words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, 5)) for _ in range(n)]


@pytest.fixture(scope="module")
def gate():
    """Fitted on a bank's words."""
    return fit_scope(texts(WORDS, 600), texts(WORDS, 400, 1), 0.99)


def test_its_own_texts_are_within_and_others_are_not(gate):
    """About the share that was asked for stays; of another task's next to nothing does."""
    assert 0.95 < 1 - gate.outside(texts(WORDS, 500, 2)).mean() <= 1.0
    assert gate.outside(texts(OTHERS, 500, 3)).mean() > 0.95
    assert gate.outside(["", "漢字 漢字"]).all()


def test_fitting_again_is_the_same_gate(gate):
    """By its seed, to the last digit."""
    again = fit_scope(texts(WORDS, 600), texts(WORDS, 400, 1), 0.99)
    assert again.limit == gate.limit
    assert (again.centres == gate.centres).all()


def test_a_student_behind_it_is_never_sure_of_other_texts(gate):
    """Label and probabilities stay, the confidence is NaN, and nothing else of the answer moves."""
    student = ScriptedStudent(LabelSchema(("a", "b")), (0.9, 0.1))
    inside, outside = texts(WORDS, 1, 4) + texts(OTHERS, 1, 4)
    gated = GatedStudent(student, gate)
    own, other = gated.predict([inside, outside])
    assert (own.confidence, own.in_scope) == (pytest.approx(0.9), True)
    assert math.isnan(other.confidence)
    assert (other.label, other.in_scope) == (0, False)
    assert gated.predict([]) == []
    assert gated.token_count(inside) == student.token_count(inside)


def test_it_is_kept_beside_the_student(gate, tmp_path):
    """Written and read again it says the same; a damaged one is refused."""
    gate.save(tmp_path)
    again = ScopeGate.load(tmp_path, gate.config()["scope"])
    some = texts(WORDS, 20, 5) + texts(OTHERS, 20, 5)
    assert (again.distances(some) == gate.distances(some)).all()
    with pytest.raises(BadBundle, match="dimensions"):
        replace(gate, centres=gate.centres[:, 1:])
    (tmp_path / SCOPE_FILE).write_bytes(b"no tensors")
    with pytest.raises(BadBundle, match="cannot be read"):
        ScopeGate.load(tmp_path, gate.config()["scope"])


@pytest.mark.torch
def test_a_task_asks_for_it_and_the_certificate_is_of_both(
    tmp_path, make_labels, make_task, split_rows
):
    """Distilled with a gate: calibrated, certified, evaluated and loaded behind it."""
    task = make_task(tmp_path, student={"in_scope": 0.9}, agreement=0.9)
    descriptor = TeacherDescriptor("classify", "scripted", "1", "", "{}")
    data = make_labels()
    done = distill(task, take_parts(task, data, split_rows), teacher=descriptor)
    manifest = done.bundle.manifest
    assert SCOPE_FILE in manifest.files
    said = answer(load_student(done.bundle), data.take(split_rows["calibration"]).texts)
    outside = np.isnan(said.confidence)
    assert 0 < outside.mean() < 0.3
    assert manifest.certificate.n_accepted <= (~outside).sum()
    assert manifest.evaluation.escalation.rate > 0
    others = answer(load_student(done.bundle), texts(OTHERS, 100)).confidence
    assert np.isnan(others).mean() > 0.5
