"""What was read and what the labels hold is said in words, with nothing left out."""

from pathlib import Path

import numpy as np
import pytest

from students.label.inputs import make_inputs
from students.label.split import split_inputs
from students.label.summary import by_size, count_labels, rare, what_is_missing, what_was_read
from students.labels import LabelSchema

PATH = Path("in.csv")
SCHEMA = LabelSchema(("billing", "technical", "other"))


def test_rows_copies_and_contradicting_gold_are_said():
    """50 texts twice, once with each gold label, and three rows without text."""
    texts = [f"text {i}" for i in range(50)] * 2 + ["one more"]
    gold = np.array([0] * 50 + [1] * 50 + [1], np.int32)
    said = list(what_was_read(PATH, make_inputs(texts, gold, empty=3), SCHEMA))
    assert said == [
        "Read 104 rows of in.csv: 51 texts; 3 without text, left out; 50 copies of others, asked "
        "about once; 50 texts whose gold labels contradict each other, taken as unknown.",
        "Gold of 1 of them: technical 1; never: billing, other.",
    ]


def test_what_there_is_not_is_not_said():
    """Distinct texts without gold are one short sentence."""
    said = list(what_was_read(PATH, make_inputs(["a", "b"]), SCHEMA))
    assert said == ["Read 2 rows of in.csv: 2 texts."]


def test_every_label_is_counted_also_those_that_never_came():
    """No answer (-1) is none of them."""
    counts = count_labels(SCHEMA, np.array([1, 1, -1, 0]))
    assert counts == {"billing": 1, "technical": 2, "other": 0}
    assert by_size(counts) == "technical 2, billing 1"


def test_a_label_too_rare_to_be_judged_is_named():
    """Fewer than ten answers, none included; nothing where all have enough."""
    said = rare({"billing": 120, "technical": 2, "other": 0})
    assert said == "other 0, technical 2: too few to be learnt or judged"
    assert rare({"billing": 120, "technical": 10}) is None


def test_many_labels_stay_one_line():
    """77 labels: the largest are named, the others counted; so are the rarest."""
    counts = {f"label {i}": i for i in range(77)}
    assert "label 76 76" in by_size(counts)
    assert by_size(counts).endswith(", 64 more with 1 to 64 each")
    assert rare({f"label {i}": 0 for i in range(77)}).count("label") == 12


@pytest.mark.parametrize(("rows", "missing"), [(2, True), (400, False)])
def test_too_few_rows_for_a_student_are_told_before_they_are_paid_for(rows, missing):
    """Each split needs a row."""
    splits = split_inputs(
        make_inputs([f"text {chr(97 + i % 26)}{i // 26 * 'x'}" for i in range(rows)])
    )
    said = what_is_missing(splits)
    assert (said is not None) == missing
    assert said is None or "is in the split" in said
