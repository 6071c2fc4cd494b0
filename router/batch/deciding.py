"""Who answers each row of a chunk: the router's rule, its audits and its fail-safe, on columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    REASONS,
    ROUTES,
    Reason,
    Route,
    keeps,
    why_escalated,
    why_unusable,
)
from router.teacher.guard import failure_of
from students.label.answers import Answers
from students.labels import NO_LABEL, FloatArray, Prediction
from students.task import Task

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_NO_PROBABILITIES: FloatArray = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class RowQuestions:
    """What the teacher is to be asked about a chunk: M of its N rows, in order.

    Attributes:
        rows: (M,), their numbers in the chunk.
        audits: (M,), rows that the student answers, drawn to be asked about all the same.
        reasons: (M,), why the others escalate, by code.
        drawn: (M,), those that were drawn, escalated ones among them.
        place: (M,), of each row's text in `texts`.
        texts: the different texts, those first that escalate.
    """

    rows: Int64
    audits: Bool
    reasons: Int64
    drawn: Bool
    place: Int64
    texts: list[str]


@dataclass(frozen=True, eq=False)
class Contacts:
    """The rows that the teacher was concerned with, in order: what the ledger says of them.

    Attributes:
        rows: (C,), their numbers in the chunk.
        at: (C,), their texts' places among those asked about.
        taught: (C,), the label that the teacher's answer means, `NO_LABEL` for none.
        answered: (C,), whether it answered at all.
        paid: (C,), this row is the one that pays for the answer.
        audited: (C,), the answer was for an audit.
        drawn: (C,), the row was drawn for one, whoever answers it.
    """

    rows: Int64
    at: Int64
    taught: Int64
    answered: Bool
    paid: Bool
    audited: Bool
    drawn: Bool


@dataclass(frozen=True, eq=False)
class Decided:
    """The answers of a chunk.

    Attributes:
        columns: what is written beside its rows.
        audits, disagreements: audits that were answered, and those that differ.
        lost: audits that were drawn and got no answer.
    """

    columns: AnswerColumns
    contacts: Contacts
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
        kept = keeps(said.labels, said.confidences, self._watch.raised(self._thresholds))
        unsure = ~said.empty if self._watch.alarmed else ~said.empty & ~kept
        drawn = draws(chunk.first, len(chunk), self._rate, self._seed) & ~said.empty
        rows = np.flatnonzero(unsure | drawn)
        audits = ~unsure[rows]
        reasons = why_escalated(said.labels[rows], said.confidences[rows])
        reasons[kept[rows]] = REASONS.index(PROMISE_BROKEN.reason)
        place = np.empty(rows.size, np.int64)
        texts: dict[str, int] = {}
        for some in (~audits, audits):
            place[some] = [
                texts.setdefault(text, len(texts)) for text in chunk.column.texts(rows[some])
            ]
        return RowQuestions(rows, audits, reasons, drawn[rows], place, list(texts))

    def settle(self, chunk: ScoredChunk, questions: RowQuestions, asked: AskedTexts) -> Decided:
        """Answer every row, and tell the watch what audits have shown."""
        rows, place, audits = questions.rows, questions.place, questions.audits
        answered = asked.known.there[place]
        taught = asked.known.labels()[place].astype(np.int64)
        paid = _first_of(place) & _among(asked.paid, len(questions.texts))[place]
        columns = _Columns(chunk, self._student_usd)
        columns.pay(rows[paid], place[paid], asked.known)
        teacher = ~audits & answered & (taught != NO_LABEL)
        columns.answer(rows[teacher], Route.TEACHER, taught[teacher], questions.reasons[teacher])
        for i in np.flatnonzero(~audits & ~teacher).tolist():
            self._fail(columns, chunk, int(rows[i]), int(place[i]), asked)
        for i in np.flatnonzero(questions.drawn & answered & (audits | teacher)).tolist():
            row = int(rows[i])
            self._watch.compared(
                f"{self._job}-{chunk.first + row}",
                _prediction(chunk, row),
                None if taught[i] == NO_LABEL else int(taught[i]),
                escalated=not audits[i],
            )
        audited = audits & answered
        concerned = answered | _among(asked.left, len(questions.texts))[place]
        return Decided(
            columns.columns(self._names),
            Contacts(
                rows[concerned],
                place[concerned],
                taught[concerned],
                answered[concerned],
                paid[concerned],
                audited[concerned],
                questions.drawn[concerned],
            ),
            int(audited.sum()),
            int((taught != chunk.said.labels[rows])[audited].sum()),
            int((audits & ~answered).sum()),
        )

    def _fail(
        self, columns: _Columns, chunk: ScoredChunk, row: int, at: int, asked: AskedTexts
    ) -> None:
        """Answer a row that the student was not sure of and the teacher gave no label for.

        As the pipeline decides it.
        """
        failed = OUT_OF_BUDGET.reason
        if at in asked.known:
            failed = why_unusable(asked.known[at].distribution) or Reason.TEACHER_UNSURE
        elif at in asked.left:
            failed = failure_of(asked.left[at])[1]
        own = int(chunk.said.labels[row])
        degraded = self._degrades and own >= 0 and bool(np.isfinite(chunk.said.confidences[row]))
        route, label = (Route.DEGRADED, own) if degraded else (Route.REFUSED, NO_LABEL)
        columns.answer(row, route, label, REASONS.index(failed))


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

    def pay(self, rows: Int64, at: Int64, known: Answers) -> None:
        """Let some rows pay for the answers at these places."""
        bills, place = known.bills()
        codes = np.array([self._code(self._student_usd + usd) for _, usd in bills], np.int64)
        self._costs[rows] = codes[place[at]]

    def answer(
        self, rows: Int64 | int, route: Route, labels: Int64 | int, reasons: Int64 | int
    ) -> None:
        """Set the answers of one row or some."""
        self._labels[rows] = labels
        self._routes[rows] = ROUTES.index(route)
        self._reasons[rows] = reasons

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


def _first_of(place: Int64) -> Bool:
    """Whether each is the first of its value, (M,)."""
    first = np.zeros(place.size, np.bool_)
    first[np.unique(place, return_index=True)[1]] = True
    return first


def _among(places: Collection[int], n: int) -> Bool:
    """Which of `n` places are among some, (n,)."""
    found = np.zeros(n, np.bool_)
    found[np.fromiter(places, np.int64, len(places))] = True
    return found


def _prediction(chunk: ScoredChunk, row: int) -> Prediction | None:
    label = int(chunk.said.labels[row])
    if label < 0:
        return None
    return Prediction(label, float(chunk.said.confidences[row]), _NO_PROBABILITIES)
