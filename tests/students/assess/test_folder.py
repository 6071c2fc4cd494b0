"""Logged answers are labels: soft where the log has probabilities that say the same."""

import math
from decimal import Decimal

import pytest

from costmodel.money.pricing import PriceSpec
from students.assess.call import LoggedCall
from students.assess.folder import logged_labels, write_task
from students.assess.formats import stored_completion
from students.assess.jobs import find_jobs
from tests.students.assess.test_formats import BODY, MESSAGES

PRICE = PriceSpec(usd_per_mtok_input=Decimal(1), usd_per_mtok_output=Decimal(1))


def _labelled(tmp_path, odd, labels=("billing", "technical", "other")):
    """The labels of a job whose calls are sure and hard, but for the `odd` ones."""
    words = ["apple", "brick", "cloud", "drum", "eagle", "flute", "grass", "honey"]
    plain = [
        LoggedCall("Which team?", f"{words[i % 8]} {words[i // 8 % 8]} {i}", labels[i % 3], "m", i)
        for i in range(120)
    ]
    [job] = find_jobs([*plain, *odd])[0]
    task = write_task(job, PRICE, 100.0, tmp_path, 0.95, None)
    labelled, _, _ = logged_labels(job, task, None)
    at = {text: i for i, text in enumerate(labelled.texts)}
    assert labelled.probabilities[at["apple apple 0"]].tolist() == [1.0, 0.0, 0.0]
    return labelled, [at[call.user] for call in odd]


def _call(answer, *first, text="something odd"):
    pairs = tuple((token, math.log(p)) for token, p in first)
    return LoggedCall("Which team?", text, answer, "m", 500.0, first=pairs)


def test_the_candidates_of_the_first_token_make_a_soft_label(tmp_path):
    """Case and blanks say nothing; what begins no label is other mass."""
    one = _call("billing", ("bill", 0.6), (" Tech", 0.2), ("other", 0.1), ("I", 0.1))
    labelled, [row] = _labelled(tmp_path, [one])
    assert labelled.probabilities[row] == pytest.approx([0.6, 0.2, 0.1], abs=1e-6)
    assert labelled.other[row] == pytest.approx(0.1, abs=1e-6)


def test_a_text_that_was_asked_often_gets_the_mean(tmp_path):
    """As often as it was asked with probabilities."""
    odd = [
        _call("billing", ("bill", 0.6), ("tech", 0.3), ("other", 0.1)),
        _call("billing", ("bill", 0.8), ("tech", 0.1), ("other", 0.1)),
    ]
    labelled, [row, same] = _labelled(tmp_path, odd)
    assert row == same
    assert labelled.probabilities[row] == pytest.approx([0.7, 0.2, 0.1], abs=1e-6)


@pytest.mark.parametrize(
    "first",
    [
        [("tech", 0.9), ("bill", 0.1)],
        [("{", 0.9), ("bill", 0.1)],
        [("b", 0.5), ("t", 0.5)],
    ],
    ids=["they favour another", "they are no word of a label", "they are level"],
)
def test_candidates_that_say_something_else_leave_the_answer(tmp_path, first):
    """What was served is the label, whatever the probabilities say."""
    labelled, [row] = _labelled(tmp_path, [_call("billing", *first)])
    assert labelled.probabilities[row].tolist() == [1.0, 0.0, 0.0]
    assert not labelled.truncated[row]


def test_labels_that_begin_alike_stay_hard(tmp_path):
    """A token that begins two labels means neither."""
    labels = ("card arrival", "card lost", "other")
    odd = _call("card arrival", ("card", 0.95), ("other", 0.05))
    labelled, [row] = _labelled(tmp_path, [odd], labels)
    assert labelled.probabilities[row].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("logprobs", "first"),
    [
        (None, ()),
        ({"content": []}, ()),
        ({"content": [{"token": "urgent", "logprob": -9999.0}]}, ()),
        ({"content": [{"token": "urgent", "logprob": -0.1}]}, (("urgent", -0.1),)),
        (
            {
                "content": [
                    {
                        "token": "urgent",
                        "logprob": -0.1,
                        "top_logprobs": [
                            {"token": "urgent", "logprob": -0.1},
                            {"token": "not", "logprob": -2.4},
                        ],
                    }
                ]
            },
            (("urgent", -0.1), ("not", -2.4)),
        ),
    ],
)
def test_candidates_are_read_in_openais_shape(logprobs, first):
    """None, placeholders, the token alone, and its rivals."""
    choices = [BODY["choices"][0] | {"logprobs": logprobs}]
    assert stored_completion(BODY | {"choices": choices, "messages": MESSAGES}).first == first
