"""Who answers each row of a chunk: the router's rule, its audits and its fail-safe, on columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from router.batch.asking import AskedTexts
from router.batch.scoring import ScoredChunk
from router.batch.tables.chunk import AnswerColumns
from router.batch.watching import JobWatch
from router.policy import (
    OUT_OF_BUDGET,
    PROMISE_BROKEN,
    Decision,
    Reason,
    Route,
    decide,
    keeps,
    why_unusable,
)
from router.teacher.guard import failure_of
from students.labels import NO_LABEL, FloatArray, Prediction
from students.task import Task

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

ROUTES, REASONS = tuple(Route), tuple(Reason)
_NO_PROBABILITIES: FloatArray = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class RowQuestions:
    """What the teacher is to be asked about a chunk.

    Attributes:
        decisions: why, by row, in order: the rows that the student does not answer.
        audits: rows it answers, drawn to be asked about all the same.
        drawn: (N,), every row that was drawn.
        texts: the different texts of both, audits last.
        place: of each row's text in `texts`.
    """

    decisions: dict[int, Decision]
    audits: list[int]
    drawn: Bool
    texts: list[str]
    place: dict[int, int]


@dataclass(frozen=True, eq=False)
class Contact:
    """One row that the teacher was concerned with: what the ledger says of it.

    Attributes:
        at: its text's place among those asked about.
        taught: the label that the teacher's answer means, `NO_LABEL` for none; None: no answer.
        paid: this row is the one that pays for the answer.
        audited: the answer was for an audit.
    """

    row: int
    at: int
    taught: int | None
    paid: bool
    audited: bool


@dataclass(frozen=True, eq=False)
class Decided:
    """The answers of a chunk.

    Attributes:
        columns: what is written beside its rows.
        contacts: the rows that the teacher was concerned with, in order.
        audits, disagreements: audits that were answered, and those that differ.
        lost: audits that were drawn and got no answer.
    """

    columns: AnswerColumns
    contacts: list[Contact]
    audits: int = 0
    disagreements: int = 0
    lost: int = 0


class Decider:
    """Decides chunk after chunk.

    Args:
        thresholds: (K,), the certificate's.
        student_usd: what one answer of the student costs.
        job: its name, with which rows are numbered.
        watch: is told of audits; once it is alarmed, every row after that chunk escalates.
        rate: share of all rows that is drawn.
        seed: of the draw, which depends on it and on the row's number alone.
    """

    def __init__(
        self,
        task: Task,
        thresholds: Sequence[float],
        student_usd: Decimal,
        watch: JobWatch,
        *,
        job: str,
        rate: float,
        seed: int,
    ) -> None:
        self._names = task.schema_.names
        self._degrades = task.teacher.on_failure == "student"
        self._thresholds = thresholds
        self._student_usd = student_usd
        self._watch = watch
        self._rate = rate
        self._seed = seed
        self._job = job

    def questions(self, chunk: ScoredChunk) -> RowQuestions:
        """Say what the teacher is to be asked about a chunk."""
        said = chunk.said
        alarmed = self._watch.alarmed
        thresholds = self._watch.raised(self._thresholds)
        kept = keeps(said.labels, said.confidences, thresholds)
        unsure = ~said.empty if alarmed else ~said.empty & ~kept
        decisions = {
            row: PROMISE_BROKEN if kept[row] else decide(_prediction(chunk, row), thresholds)
            for row in np.flatnonzero(unsure).tolist()
        }
        drawn = draws(chunk.first, len(chunk), self._rate, self._seed) & ~said.empty
        audits: list[int] = np.flatnonzero(drawn & ~unsure).tolist()
        place: dict[int, int] = {}
        texts: dict[str, int] = {}
        for row in (*decisions, *audits):
            place[row] = texts.setdefault(chunk.column.text(row), len(texts))
        return RowQuestions(decisions, audits, drawn, list(texts), place)

    def settle(self, chunk: ScoredChunk, questions: RowQuestions, asked: AskedTexts) -> Decided:
        """Answer every row, and tell the watch what audits have shown."""
        answers = _Columns(chunk, self._student_usd)
        contacts: list[Contact] = []
        payers: set[int] = set()
        audited = disagreed = lost = 0
        labels = asked.known.labels().tolist()
        for row in sorted(questions.place):
            at = questions.place[row]
            taught = labels[at] if at in asked.known else None
            pays = at in asked.paid and at not in payers
            if pays:
                payers.add(at)
                answers.pays(row, asked.known.bill(at)[1])
            audit = row not in questions.decisions
            if audit:
                lost += taught is None
            else:
                route, label, reason = self._answer(chunk, row, questions, taught, asked)
                answers.answered(row, route, label, reason)
            if taught is not None and questions.drawn[row] and (audit or route is Route.TEACHER):
                self._watch.compared(
                    f"{self._job}-{chunk.first + row}",
                    _prediction(chunk, row),
                    None if taught == NO_LABEL else taught,
                    escalated=not audit,
                )
                audited += audit
                disagreed += audit and taught != chunk.said.labels[row]
            if taught is not None or at in asked.left:
                contacts.append(Contact(row, at, taught, pays, audit and taught is not None))
        return Decided(answers.columns(self._names), contacts, audited, int(disagreed), lost)

    def _answer(
        self,
        chunk: ScoredChunk,
        row: int,
        questions: RowQuestions,
        taught: int | None,
        asked: AskedTexts,
    ) -> tuple[Route, int | None, Reason]:
        """Who answers a row that the student was not sure of: as the pipeline decides it."""
        at, failed = questions.place[row], OUT_OF_BUDGET.reason
        if taught is not None:
            if taught != NO_LABEL:
                return Route.TEACHER, taught, questions.decisions[row].reason
            failed = why_unusable(asked.known[at].distribution) or Reason.TEACHER_UNSURE
        elif at in asked.left:
            failed = failure_of(asked.left[at])[1]
        own = int(chunk.said.labels[row])
        if self._degrades and own >= 0 and np.isfinite(chunk.said.confidences[row]):
            return Route.DEGRADED, own, failed
        return Route.REFUSED, None, failed


class _Columns:
    """The answers of a chunk in the making: the student's, until somebody else's come."""

    def __init__(self, chunk: ScoredChunk, student_usd: Decimal) -> None:
        n, empty = len(chunk), chunk.said.empty
        self._chunk = chunk
        self._labels = chunk.said.labels.copy()
        self._routes = np.full(n, ROUTES.index(Route.STUDENT))
        self._reasons = np.full(n, REASONS.index(Reason.CONFIDENT))
        self._amounts = {Decimal(0): 0}
        self._student_usd = student_usd
        self._costs = np.full(n, self._code(student_usd))
        self._routes[empty] = ROUTES.index(Route.REFUSED)
        self._reasons[empty] = REASONS.index(Reason.NO_TEXT)
        self._costs[empty] = 0

    def pays(self, row: int, usd: Decimal) -> None:
        self._costs[row] = self._code(self._student_usd + usd)

    def answered(self, row: int, route: Route, label: int | None, reason: Reason) -> None:
        self._labels[row] = -1 if label is None else label
        self._routes[row] = ROUTES.index(route)
        self._reasons[row] = REASONS.index(reason)

    def columns(self, names: Sequence[str]) -> AnswerColumns:
        return AnswerColumns(
            names,
            self._labels,
            self._chunk.said.confidences,
            [route.value for route in ROUTES],
            self._routes,
            [reason.value for reason in REASONS],
            self._reasons,
            list(self._amounts),
            self._costs,
        )

    def _code(self, usd: Decimal) -> int:
        return self._amounts.setdefault(usd, len(self._amounts))


def draws(first: int, n: int, rate: float, seed: int) -> Bool:
    """Draw each of `n` rows, numbered from `first`, with probability `rate`, (N,).

    A mixed counter (SplitMix64): whoever writes the rows cannot choose, for the number counts and
    not the text, and a run that is killed draws the same again.
    """
    with np.errstate(over="ignore"):
        z = (
            np.arange(first + 1, first + n + 1, dtype=np.uint64) * _GAMMA
            + np.uint64(seed % 2**64) * _SEED
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    drawn: Bool = (z >> np.uint64(11)).astype(np.float64) / 2.0**53 < rate
    return drawn


_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_SEED = np.uint64(0xD1342543DE82EF95)


def _prediction(chunk: ScoredChunk, row: int) -> Prediction | None:
    label = int(chunk.said.labels[row])
    if label < 0:
        return None
    return Prediction(label, float(chunk.said.confidences[row]), _NO_PROBABILITIES)
