"""The fake teacher can say what the task's own said."""

import json

import numpy as np
import pytest

from loadtests.errors import BadRows
from loadtests.servers.recorded import read_recorded
from students.label.labelled import LabelledSet
from students.labels import LabelSchema


@pytest.fixture
def labels(tmp_path):
    """What `raisehand label` writes, for three texts."""
    path = tmp_path / "labels.npz"
    LabelledSet(
        LabelSchema(("calm", "urgent"), ("", "")),
        ("all is well", "hilf mir, schnell \u2757", "later"),
        np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32),
        np.zeros(3, np.float32),
        np.zeros(3, bool),
        np.full(3, -1, np.int32),
    ).save(path)
    return path


def test_each_text_gets_the_teachers_word(labels):
    """The most probable class, in the teacher's own wording."""
    assert read_recorded(labels, ("NO", "YES")) == {
        "all is well": "NO",
        "hilf mir, schnell \u2757": "YES",
        "later": "NO",
    }


def test_other_classes_or_another_format_are_one_sentence(labels, tmp_path):
    """Labels of another task and files that are no labels say so, and what to do."""
    with pytest.raises(BadRows, match=r"2 classes; raisehand-labels/2 with 3 is needed"):
        read_recorded(labels, ("a", "b", "c"))
    with np.load(labels) as stored:
        arrays = dict(stored)
    arrays["header"] = np.frombuffer(
        json.dumps({"format": "raisehand-labels/9", "names": ["a", "b"]}).encode(), np.uint8
    )
    np.savez(tmp_path / "new.npz", **arrays)
    with pytest.raises(BadRows, match="raisehand-labels/9"):
        read_recorded(tmp_path / "new.npz", ("a", "b"))
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(BadRows, match="run raisehand label again"):
        read_recorded(tmp_path / "bad.npz", ("a", "b"))
