"""Accuracy beside agreement: each verdict where it belongs, and nowhere else."""

from __future__ import annotations

import pytest

from router.errors import BadLedger
from router.insight.accuracy import read_accuracy
from router.ledger.feedback import FeedbackSource, Judgement, SqliteFeedback
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import sample_entry


@pytest.fixture
def path(tmp_path):
    """Where the ledger is."""
    return tmp_path / "ledger.sqlite"


def store(path, entries, verdicts):
    """Write entries and verdicts."""
    ledger, box = SqliteLedger(path), SqliteFeedback(path)
    for entry in entries:
        ledger.append(entry)
    ledger.close()
    for verdict in verdicts:
        box.put(verdict)


def kept(request_id, **more):
    """A kept answer: the student says urgent."""
    return sample_entry(
        **{"request_id": request_id, "propensity": 0.0, "student_label": "urgent"} | more
    )


def asked(request_id, teacher, **more):
    """An escalated one: the student says urgent, the teacher something."""
    return kept(
        request_id,
        route=Route.TEACHER,
        reason=Reason.LOW_CONFIDENCE,
        label=teacher,
        teacher_label=teacher,
        **more,
    )


def verdict(request_id, **more):
    """What a user says."""
    fields = {
        "task": "urgent",
        "source": FeedbackSource.USER,
        "client": "",
        "reviewer": False,
        "at": 2.0,
    }
    return Judgement(**{"request_id": request_id, **fields, **more})


def counts(portions):
    """(right, judged) of each."""
    return {who: (portion.count, portion.n) for who, portion in portions.items()}


def test_gold_judges_all_three(path):
    """The cascade's answer, and what its student and its teacher said of the same request."""
    store(
        path,
        [kept("a"), asked("b", "calm"), asked("c", "urgent"), kept("d", teacher_label="calm")],
        [
            verdict(name, gold=gold)
            for name, gold in zip("abcd", ["urgent", "calm", "calm", "calm"], strict=True)
        ],
    )
    found = read_accuracy(path, "urgent")
    assert counts(found.all) == {"cascade": (2, 4), "student": (1, 4), "teacher": (2, 3)}
    assert (found.unmatched, found.ambiguous, found.of_others) == (0, 0, 0)


def test_right_or_wrong_judges_what_it_can(path):
    """Right: that is the gold. Wrong: of another label than the answer's nothing is known."""
    store(
        path,
        [asked("a", "calm"), asked("b", "calm"), asked("c", "urgent")],
        [verdict("a", correct=True), verdict("b", correct=False), verdict("c", correct=False)],
    )
    assert counts(read_accuracy(path, "urgent").all) == {
        "cascade": (1, 3),
        "student": (0, 2),
        "teacher": (1, 3),
    }


def test_the_most_trusted_source_counts_in_the_whole(path):
    """Each source is shown alone; of two on one request the reviewer's counts."""
    store(
        path,
        [kept("a")],
        [verdict("a", correct=True), verdict("a", correct=False, source=FeedbackSource.REVIEWER)],
    )
    found = read_accuracy(path, "urgent")
    assert {s: counts(who)["cascade"] for s, who in found.by_source.items()} == {
        "reviewer": (0, 1),
        "user": (1, 1),
    }
    assert counts(found.all)["cascade"] == (0, 1)


def test_what_cannot_be_counted_is_named(path):
    """An unknown id, an id of several requests, another key's answer, another task's."""
    store(
        path,
        [kept("twice"), kept("twice"), kept("hers", client="her"), kept("x", task="other")],
        [
            verdict("gone", correct=True),
            verdict("twice", correct=True),
            verdict("hers", correct=True, client="him"),
            verdict("hers", correct=False, client="judge", reviewer=True),
            verdict("x", correct=True, task="other"),
        ],
    )
    found = read_accuracy(path, "urgent")
    assert (found.unmatched, found.ambiguous, found.of_others) == (1, 1, 1)
    assert counts(found.all)["cascade"] == (0, 1)


def test_agreement_is_of_what_the_router_drew(path):
    """Feedback moves none of it; an escalated draw agrees, one that was lost is named."""
    drawn = {"propensity": 0.1}
    store(
        path,
        [
            kept("a", audited=True, teacher_label="urgent", **drawn),
            kept("b", audited=True, teacher_label="", **drawn),
            asked("c", "calm", **drawn),
            kept("d", **drawn),
            asked("e", "calm"),
        ],
        [verdict("b", correct=True)],
    )
    found = read_accuracy(path, "urgent")
    assert (found.agreement.count, found.agreement.n, found.lost) == (2, 3, 1)
    low, high = found.agreement.interval
    assert low < 2 / 3 < high


def test_no_ledger_is_one_sentence(path):
    """A path without a ledger is refused."""
    with pytest.raises(BadLedger, match="there is no ledger"):
        read_accuracy(path, "urgent")
