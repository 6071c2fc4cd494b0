"""Every decision, its usage and its price: what is booked, and what it adds up to.

`router.ledger.sqlite` stores entries, `router.ledger.read` reads them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import msgspec

from router.policy import Reason, Route


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One answered (or refused) request.

    `student_usd` and `teacher_usd` are 0 where nothing was asked and None where something was
    asked that has no known price: such a request is counted as unpriced, never summed as 0.
    `teacher_usd`, the tokens and `attempts` cover every attempt on the teacher: the failed, the
    retried and the cancelled ones too; `estimated` says that the usage of a lost one was estimated.
    """

    at: float
    """Unix time, seconds."""
    request_id: str
    task: str
    bundle: str
    surface: str
    route: Route
    reason: Reason
    label: str | None
    confidence: float | None
    student_usd: Decimal | None
    teacher_usd: Decimal | None
    input_tokens: int
    output_tokens: int
    attempts: int
    latency_ms: float
    degraded: bool
    audited: bool
    propensity: float
    """Probability with which this kept answer was drawn for an audit, in [0, 1]."""
    text_sha256: str
    """Keyed, see `router.ledger.text_hash`."""
    client: str = ""
    """Name of the API key, never the key."""
    cached_input_tokens: int = 0
    estimated: bool = False
    model: str = ""
    """Of the teacher: the one that answered, as its answer says, or that was asked; empty: the
    task's, or none."""
    student_label: str | None = None
    """What the student said, also where somebody else answered; None where it said nothing."""
    teacher_label: str | None = None
    """What the teacher said, for the client or in an audit; empty: it answered, and no label."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a ledger has not stored yet, and how often storing failed."""

    entries: int = 0
    oldest_s: float = 0.0
    """Age of the oldest of them, in seconds."""
    errors: int = 0


class Ledger(Protocol):
    """Where entries go. `append` never blocks and never raises."""

    @property
    def backlog(self) -> Backlog:
        """What waits to be stored."""
        ...

    @property
    def dropped(self) -> int:
        """Entries lost because the buffer was full or the file stayed unwritable at close."""
        ...

    def append(self, entry: Entry) -> None:
        """Take an entry; drop and count it when the buffer is full."""
        ...

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was appended so far is stored; False when that did not happen."""
        ...

    def close(self) -> None:
        """Store what is left and stop."""
        ...


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over entries. The dollars of an unpriced part are unknown: not in any sum, counted."""

    requests: int = 0
    student_usd: Decimal = Decimal(0)
    teacher_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 0
    degraded: int = 0
    audited: int = 0
    unpriced: int = 0
    estimated: int = 0

    @property
    def usd(self) -> Decimal:
        """All that was paid."""
        return self.student_usd + self.teacher_usd

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f) + getattr(other, f) for f in Sums.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Totals:
    """What the ledger adds up to."""

    by_route: Mapping[str, Sums]
    by_reason: Mapping[str, int]

    @property
    def all(self) -> Sums:
        """Over every route."""
        return sum(self.by_route.values(), Sums())


class MemoryLedger:
    """Keeps entries in a list: the shipped fake."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.dropped = 0
        self.backlog = Backlog()

    def append(self, entry: Entry) -> None:
        """Keep the entry."""
        self.entries.append(entry)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """All is stored already."""
        return True

    def close(self) -> None:
        """Nothing is open."""

    def totals(self) -> Totals:
        """Add up the entries."""
        by_route: dict[str, Sums] = {}
        by_reason: dict[str, int] = {}
        for entry in self.entries:
            route, reason = entry.route.value, entry.reason.value
            by_route[route] = by_route.get(route, Sums()) + _sums(entry)
            by_reason[reason] = by_reason.get(reason, 0) + 1
        return Totals(by_route, by_reason)


def _sums(entry: Entry) -> Sums:
    return Sums(
        requests=1,
        student_usd=entry.student_usd or Decimal(0),
        teacher_usd=entry.teacher_usd or Decimal(0),
        input_tokens=entry.input_tokens,
        output_tokens=entry.output_tokens,
        attempts=entry.attempts,
        degraded=int(entry.degraded),
        audited=int(entry.audited),
        unpriced=int(entry.student_usd is None or entry.teacher_usd is None),
        estimated=int(entry.estimated),
    )
