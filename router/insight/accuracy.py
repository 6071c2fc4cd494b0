"""How often student, teacher and cascade were right, as far as somebody said so afterwards.

Beside it stands the agreement with the teacher, from the audits that the router drew by its own
chance. The two are never mixed: who gives feedback, and on which answers, is nobody's chance, so
accuracy from it is biased and enters no bound. Its intervals speak of the answers that were judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from costmodel.intervals import confidence_sequence
from router.ledger.feedback import FeedbackSource
from router.ledger.view import LedgerView, open_view

WHO = ("cascade", "student", "teacher")
"""The answer that was given, and what its two parts said."""


@dataclass(frozen=True, slots=True)
class Portion:
    """So many of so many, with an interval that holds however often one looks."""

    count: int
    n: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.count / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence sequence."""
        return confidence_sequence(self.count, self.n)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What feedback says of one task.

    `by_source` has each source alone; `all` takes each request once, by its most trusted source.
    `agreement` is the share of drawn requests whose student agreed with the teacher, or asked it.
    """

    by_source: Mapping[str, Mapping[str, Portion]]
    all: Mapping[str, Portion]
    agreement: Portion
    lost: int
    """Drawn, and not compared."""
    unmatched: int
    """Verdicts on requests that the ledger has no row of (yet, or any more)."""
    ambiguous: int
    """Verdicts on an id that several requests had."""
    of_others: int
    """Verdicts of a key on answers that another key got."""


class _Judged(msgspec.Struct, gc=False):
    """One verdict, and how many rows of the ledger it fits."""

    source: str
    request_id: str
    rows: int
    foreign: bool
    right: dict[str, bool]


def read_accuracy(source: str | Path, task: str, since: float = 0.0) -> Accuracy:
    """Join feedback and ledger (a file, or a database's address), also while routers write to it.

    Raises:
        BadLedger: there is no such file, or it is not a ledger.
        BadDatabase: the database cannot be used.
    """
    with open_view(source) as ledger:
        judged, verdicts = list[_Judged](), 0
        if ledger.judged and ledger.labelled:
            judged = list(_judged(ledger, task, since))
            (verdicts,) = ledger.row("select count(*) from {feedback} where task = %s", (task,))
        agreed, compared, lost = _agreement(ledger, task, since)
    plain = [one for one in judged if one.rows == 1]
    own = [one for one in plain if not one.foreign]
    most_trusted: dict[str, _Judged] = {}
    for source in FeedbackSource:
        for one in own:
            if one.source == source:
                most_trusted.setdefault(one.request_id, one)
    return Accuracy(
        by_source={
            source.value: _portions(one for one in own if one.source == source)
            for source in FeedbackSource
            if any(one.source == source for one in own)
        },
        all=_portions(most_trusted.values()),
        agreement=Portion(agreed, compared),
        lost=lost,
        unmatched=verdicts - len(judged),
        ambiguous=len(judged) - len(plain),
        of_others=len(plain) - len(own),
    )


def _judged(ledger: LedgerView, task: str, since: float) -> Iterator[_Judged]:
    """Yield each verdict with what the ledger says of its request."""
    found: dict[tuple[str, str, str], _Judged] = {}
    for (
        request_id,
        source,
        client,
        reviewer,
        gold,
        correct,
        asked_by,
        *labels,
    ) in ledger.execute(_JOINED, (task, since)):
        key = (request_id, source, client)
        known = found.get(key)
        if known is not None:
            known.rows += 1
            continue
        right = _right(gold, correct, dict(zip(WHO, labels, strict=True)))
        found[key] = _Judged(source, request_id, 1, not reviewer and client != asked_by, right)
    yield from found.values()


def _right(
    gold: str | None, correct: int | None, said: Mapping[str, str | None]
) -> dict[str, bool]:
    """Say who was right, of those of whom the verdict tells it."""
    if gold is None and correct:
        gold = said["cascade"]
    if gold is not None:
        return {who: label == gold for who, label in said.items() if label is not None}
    wrong = said["cascade"]  # all that is known: this label is not it
    return {who: False for who, label in said.items() if label is not None and label == wrong}


def _portions(judged: Iterable[_Judged]) -> dict[str, Portion]:
    right: dict[str, list[bool]] = defaultdict(list)
    for one in judged:
        for who, was in one.right.items():
            right[who].append(was)
    return {who: Portion(sum(right[who]), len(right[who])) for who in WHO if who in right}


def _agreement(ledger: LedgerView, task: str, since: float) -> tuple[int, int, int]:
    """Return how many drawn requests agreed, were compared, and were lost."""
    if not ledger.labelled:
        return 0, 0, 0
    agreed, compared, drawn = ledger.row(_DRAWN, (task, since))
    return agreed, compared, drawn - compared


_JOINED = """
select f.request_id, f.source, f.client, f.reviewer, f.gold, f.correct, entries.client,
       label, student_label, teacher_label
from {entries} {join} {feedback} f on f.request_id = entries.request_id and f.task = entries.task
where entries.task = %s and entries.{since} and label is not null
"""
_DRAWN = """
select count(*) filter (where route = 'teacher' or student_label = teacher_label),
       count(*) filter (where route = 'teacher' or (audited = 1 and teacher_label is not null)),
       count(*)
from {entries} where task = %s and {since} and propensity > 0
"""
