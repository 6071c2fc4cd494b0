"""A labelled set survives a file and says when it cannot."""

import numpy as np
import pytest

from students.errors import BadInputs
from students.label.labelled import LabelledSet
from students.labels import NO_LABEL, LabelSchema


def _set(texts=("a", "größer 🚑", "")):
    p = np.array([[0.7, 0.2], [0.1, 0.9], [0.5, 0.5]], np.float32)[: len(texts)]
    return LabelledSet(
        LabelSchema(("no", "yes"), ("", "it is")),
        texts,
        p,
        1 - p.sum(axis=1),
        np.array([False, True, False])[: len(texts)],
        np.array([0, -1, 1], np.int32)[: len(texts)],
    )


def test_save_and_load_give_the_same_set(tmp_path):
    """Texts of any script, every array and the schema come back; so does the fingerprint."""
    labelled = _set()
    labelled.save(tmp_path / "deep" / "labels.npz")
    again = LabelledSet.load(tmp_path / "deep" / "labels.npz")
    assert again.texts == labelled.texts
    assert again.schema == labelled.schema
    assert (again.probabilities == labelled.probabilities).all()
    assert again.sha256 == labelled.sha256


def test_the_fingerprint_sees_every_change():
    """Another text, number or gold label is another set."""
    labelled = _set()
    moved = LabelledSet(
        labelled.schema, labelled.texts, labelled.probabilities, labelled.other,
        labelled.truncated, np.array([0, -1, 0], np.int32),
    )  # fmt: skip
    assert moved.sha256 != labelled.sha256
    assert _set(("a", "größer 🚒", "")).sha256 != labelled.sha256


def test_an_answer_without_a_label_has_none():
    """Low label mass, something else on top, and level bounds: argmax made a label of each."""
    p = np.array([[0.3, 0.1], [0.4, 0.1], [0.5, 0.5], [0.0, 0.0], [0.6, 0.4]], np.float32)
    other = np.array([0.6, 0.5, 0.0, 1.0, 0.0], np.float32)
    none, gold = np.zeros(5, bool), np.full(5, -1, np.int32)
    labelled = LabelledSet(LabelSchema(("a", "b")), tuple("12345"), p, other, none, gold)
    assert labelled.teacher.tolist() == [NO_LABEL] * 4 + [0]


def test_take_picks_rows_in_order():
    """`take` keeps rows together across arrays."""
    taken = _set().take(np.array([1, 0]))
    assert taken.texts == ("größer 🚑", "a")
    assert taken.teacher.tolist() == [1, 0]
    assert taken.truncated.tolist() == [True, False]


def test_wrong_shapes_and_files_are_refused(tmp_path):
    """Arrays that do not fit, a missing file and a file of something else say so."""
    labelled = _set()
    with pytest.raises(BadInputs, match="3 texts and 2 labels"):
        LabelledSet(
            labelled.schema, labelled.texts, labelled.probabilities[:2], labelled.other,
            labelled.truncated, labelled.gold,
        )  # fmt: skip
    with pytest.raises(BadInputs, match="run `raisehand label` first"):
        LabelledSet.load(tmp_path / "no.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(BadInputs, match="is not a labelled set"):
        LabelledSet.load(tmp_path / "bad.npz")
