"""What is written down of a chunk: entries where the teacher was asked, sums of the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from costmodel.money.pricing import NO_USAGE, Price, TokenUsage, now
from router.batch.asking import AskedTexts, payer_of
from router.batch.deciding import Decided, RowQuestions
from router.batch.journal import RouteTally
from router.batch.scoring import ScoredChunk
from router.clock import Clock
from router.ledger.entry import Entry, Sums
from router.policy import REASONS, ROUTES, Reason, Route
from students.label.cache import ReplyCache
from students.label.spending import BrokenCall
from students.labels import NO_LABEL
from students.task import Task

SURFACE = "batch"
_NOTHING = NO_USAGE, Decimal(0), False
Booked = dict[tuple[Route, Reason], Sums]


@dataclass(frozen=True, eq=False)
class Books:
    """Everything about one chunk that goes into ledgers and journals."""

    entries: list[Entry]
    sums: Booked
    tallies: tuple[RouteTally, ...]
    broken_calls: int
    broken_usd: Decimal


class Bookkeeper:
    """Makes the books of a job's chunks.

    Args:
        job: its name; `bundle`: who answers.
        student_usd: what one answer of the student costs.
        rate: share of rows drawn for audits.
        text_hash: what is kept of a text.
    """

    def __init__(
        self,
        task: Task,
        job: str,
        bundle: str,
        cache: ReplyCache,
        price: Price,
        *,
        student_usd: Decimal,
        rate: float,
        text_hash: Callable[[str], str],
        wall: Clock,
    ) -> None:
        self._task = task
        self._names = task.schema_.names
        self._job = job
        self._bundle = bundle
        self._cache = cache
        self._price = price
        self._student_usd = student_usd
        self._rate = rate
        self._text_hash = text_hash
        self._wall = wall

    def books(
        self, chunk: ScoredChunk, questions: RowQuestions, asked: AskedTexts, decided: Decided
    ) -> Books:
        """Make the books of a chunk that is decided."""
        entries = list(self._entries(chunk, questions, asked, decided))
        broken = list(
            map(self._broken, self._cache.calls.broken_calls(payer_of(self._job, chunk.number)))
        )
        sums = dict(self._others(decided))
        for reason, one in broken:
            key = (Route.REFUSED, reason)
            sums[key] = sums.get(key, Sums()) + one
        return Books(
            entries,
            sums,
            tuple(self._tallies(decided)),
            len(broken),
            sum((one.teacher_usd for _, one in broken), Decimal(0)),
        )

    def _entries(
        self, chunk: ScoredChunk, questions: RowQuestions, asked: AskedTexts, decided: Decided
    ) -> Iterator[Entry]:
        contacts, columns = decided.contacts, decided.columns
        rows = contacts.rows
        for row, at, taught, answered, paid, audited, drawn, label, own, sure, route, reason in zip(
            *(part.tolist() for part in vars(contacts).values()),
            *(part[rows].tolist() for part in (
                columns.labels, chunk.said.labels, columns.confidences, columns.routes,
                columns.reasons,
            )),
            strict=True,
        ):  # fmt: skip
            usage, usd, estimated = asked.known.bill(at) if paid else _NOTHING
            yield Entry(
                at=self._wall(),
                request_id=f"{self._job}-{chunk.first + row}",
                task=self._task.name,
                bundle=self._bundle,
                surface=SURFACE,
                route=ROUTES[route],
                reason=REASONS[reason],
                label=self._names[label] if label >= 0 else None,
                confidence=sure if math.isfinite(sure) else None,
                student_usd=self._student_usd,
                teacher_usd=usd,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_input_tokens=usage.cached_input_tokens,
                attempts=int(paid),
                latency_ms=0.0,
                degraded=ROUTES[route] is Route.DEGRADED,
                audited=audited,
                propensity=self._rate if drawn else 0.0,
                text_sha256=self._text_hash(questions.texts[at]),
                estimated=estimated,
                model=self._task.teacher.model,
                student_label=self._names[own] if own >= 0 else None,
                teacher_label=self._taught(taught) if answered else None,
            )

    def _taught(self, label: int) -> str:
        return "" if label == NO_LABEL else self._names[label]

    def _others(self, decided: Decided) -> Iterator[tuple[tuple[Route, Reason], Sums]]:
        """Sums of the rows that have no entry."""
        columns = decided.columns
        alone = np.ones(columns.labels.size, np.bool_)
        alone[decided.contacts.rows] = False
        for route, reason, rows in _groups(columns.routes, columns.reasons, alone):
            n = int(rows.sum())
            scored = 0 if reason is Reason.NO_TEXT else n
            yield (
                (route, reason),
                Sums(
                    requests=n,
                    student_usd=scored * self._student_usd,
                    degraded=n if route is Route.DEGRADED else 0,
                ),
            )

    def _tallies(self, decided: Decided) -> Iterator[RouteTally]:
        columns = decided.columns
        everything = np.ones(columns.labels.size, np.bool_)
        for route, reason, rows in _groups(columns.routes, columns.reasons, everything):
            n = int(rows.sum())
            times = np.bincount(columns.costs[rows], minlength=len(columns.amounts)).tolist()
            usd = sum(
                (k * each for k, each in zip(times, columns.amounts, strict=True)), Decimal(0)
            )
            student = Decimal(0) if reason is Reason.NO_TEXT else n * self._student_usd
            yield RouteTally(
                route=route.value,
                reason=reason.value,
                rows=n,
                student_usd=student,
                teacher_usd=usd - student,
            )

    def _broken(self, call: BrokenCall) -> tuple[Reason, Sums]:
        """A call without an answer, and why.

        One that a kill cut off is taken to have consumed what the same question consumed when it
        was asked again.
        """
        usd, usage = call.usd, NO_USAGE
        again = [self._cache.usage(key) for key in call.keys]
        if again and all(again):
            usage = sum((one for one in again if one is not None), NO_USAGE)
            usd = sum((self._cost(one) for one in again if one is not None), Decimal(0))
        sums = Sums(
            teacher_usd=usd,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            attempts=1,
            estimated=int(not call.confirmed),
        )
        return Reason.ROUTER_STOPPED if call.keys else Reason.TEACHER_UNAVAILABLE, sums

    def _cost(self, usage: TokenUsage) -> Decimal:
        return self._price.cost(usage, now()).usd


def _groups(
    routes: np.ndarray, reasons: np.ndarray, chosen: np.ndarray
) -> Iterator[tuple[Route, Reason, np.ndarray]]:
    """Yield each route and reason that chosen rows have, with these rows."""
    codes = routes * len(REASONS) + reasons
    for code in np.unique(codes[chosen]).tolist():
        yield ROUTES[code // len(REASONS)], REASONS[code % len(REASONS)], (codes == code) & chosen


def added(tallies: Sequence[RouteTally]) -> dict[tuple[str, str], RouteTally]:
    """Add up tallies of the same route and reason."""
    found: dict[tuple[str, str], RouteTally] = {}
    for one in tallies:
        key = (one.route, one.reason)
        so_far = found.get(key)
        found[key] = (
            one
            if so_far is None
            else RouteTally(
                route=one.route,
                reason=one.reason,
                rows=so_far.rows + one.rows,
                student_usd=so_far.student_usd + one.student_usd,
                teacher_usd=so_far.teacher_usd + one.teacher_usd,
            )
        )
    return found
