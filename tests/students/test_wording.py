"""A teacher's words are read strictly: the bare label, and nothing found inside a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from students.task import Task
from students.wording import alike, read_answer

LABELS = ("not urgent", "urgent")


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("urgent", 1),
        (" Urgent.\n", 1),
        ("ＵＲＧＥＮＴ", 1),
        ("**Not urgent**", 0),
        ("not_urgent", 0),
        ("Not-Urgent!", 0),
        ("`urgent`", 1),
        ("“urgent”", 1),
        ("- urgent", 1),
        ("## Urgent", 1),
        ("[urgent]", 1),
        ('["urgent"]', 1),
        ('{"label": "urgent"}', 1),
        ('{"label": "Not urgent."}', 0),
        ('```json\n{"label": "urgent"}\n```', 1),
        ("```\nurgent\n```", 1),
        ("```urgent```", 1),
    ],
)
def test_the_bare_label_is_read_whatever_stands_around_it(said, label):
    """Case, width, blank, dash, quotes, markdown and JSON say nothing."""
    assert read_answer(said, LABELS) == label


@pytest.mark.parametrize(
    "said",
    [
        "This is urgent.",
        "The answer is: urgent!",
        "It is not urgent at all",
        "non-urgent",
        "isn't urgent",
        "urgent? No.",
        "I can't tell if it is urgent",
        "not",
        "~~urgent~~",
        "[ ] urgent",
        "urgent, not urgent",
        "insurgent",
        '{"not": "urgent"}',
        '{"urgent": false}',
        '{"label": "urgent", "because": "not urgent"}',
        "",
        "**",
    ],
)
def test_a_sentence_or_a_negation_is_no_label(said):
    """What only holds a label's word is no answer."""
    assert read_answer(said, LABELS) is None


def test_a_label_in_another_spelling_is_not_another_label():
    """Of these labels, "Not so positive." once meant positive, seven times of seven."""
    assert read_answer("Not so positive.", ("positive", "not_so_positive")) == 1


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("urgent", None),
        ("**not urgent", None),
        ('```json\n{"label": "urg', None),
        ('```json\n{"label": "urgent"', 1),
        ('{"label": "urgent"}\n', 1),
        ('{"label": 1', None),
    ],
)
def test_a_cut_answer_counts_only_if_it_was_closed(said, label):
    """The beginning of a longer word, or of a sentence, is no answer."""
    assert read_answer(said, LABELS, cut=True) == label


@pytest.mark.parametrize(
    ("said", "words", "label"),
    [
        ("C++.", ("C", "C++", "C#"), 1),
        ("C#", ("C", "C++", "C#"), 2),
        ("paid", ("paid?", "open"), 0),
        ("-1", ("1", "-1"), 1),
        ('{"label": 1}', ("0", "1"), 1),
        ('{"label": true}', ("true", "false"), 0),
    ],
)
def test_marks_that_belong_to_a_word_stay(said, words, label):
    """A label may end in a mark, or be a number."""
    assert read_answer(said, words) == label


@pytest.mark.parametrize(
    "labels",
    [("Yes", "yes"), ("billing", "Billing"), ("card payment", "card_payment"), ("paid", "paid?")],
)
@pytest.mark.parametrize("mode", ["text", "chat"])
def test_labels_that_reading_cannot_tell_apart_are_refused(labels, mode, tmp_path):
    """The second could never win: the task file is refused, with the way out."""
    task = {
        "name": "t",
        "labels": list(labels),
        "teacher": {
            "mode": mode,
            "base_url": "http://h",
            "model": "m",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
        },
        "inputs": {"path": "x.csv"},
    }
    with pytest.raises(ValidationError, match=r"differ only in what reading passes over"):
        Task.model_validate(task)
    task["teacher"]["answers"] = {labels[1]: "other"}
    Task.model_validate(task)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=6, unique=True))
def test_labels_that_can_be_told_apart_are_read_as_themselves(words):
    """Whatever the labels, each is read as itself or they are refused."""
    if alike(words) is None:
        for k, word in enumerate(words):
            if not word.strip().startswith(("{", "`")):
                assert read_answer(word, words) == k
