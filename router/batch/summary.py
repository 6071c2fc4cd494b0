"""What a job came to: the certificate's statement, who answered which share, and the bill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from router.batch.booking import added
from router.batch.journal import ChunkRecord, RouteTally
from router.policy import Reason, Route


@dataclass(frozen=True, eq=False)
class BatchSummary:
    """The figures of a job.

    Attributes:
        out: where the answers are.
        statement: what the certificate says.
        alarmed: audits say that it no longer holds.
    """

    out: str
    bundle: str
    statement: str
    price: str
    tallies: tuple[RouteTally, ...]
    audits: int
    disagreements: int
    lost_audits: int
    broken_calls: int
    broken_usd: Decimal
    faults: tuple[str, ...]
    alarmed: bool

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(one.rows for one in self.tallies)

    @property
    def teacher_usd(self) -> Decimal:
        """What the teacher cost, calls without an answer included."""
        return sum((one.teacher_usd for one in self.tallies), self.broken_usd)

    @property
    def student_usd(self) -> Decimal:
        """What the student cost."""
        return sum((one.student_usd for one in self.tallies), Decimal(0))

    def of(self, route: Route) -> int:
        """Count the rows of a route."""
        return sum(one.rows for one in self.tallies if one.route == route.value)

    def document(self) -> dict[str, object]:
        """Return it as JSON has it; dollars are strings, exact."""
        return {
            "out": self.out,
            "bundle": self.bundle,
            "certificate": self.statement,
            "promise_broken": self.alarmed,
            "rows": self.rows,
            "answers": [
                {"route": one.route, "reason": one.reason, "rows": one.rows} for one in self.tallies
            ],
            "audits": self.audits,
            "audits_disagreed": self.disagreements,
            "audits_lost": self.lost_audits,
            "student_usd": f"{self.student_usd:f}",
            "teacher_usd": f"{self.teacher_usd:f}",
            "usd": f"{self.student_usd + self.teacher_usd:f}",
            "calls_without_answer": self.broken_calls,
            "calls_without_answer_usd": f"{self.broken_usd:f}",
            "faults": list(self.faults),
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what is shown, by name."""
        yield "rows", f"{self.rows:,}"
        for one in self.tallies:
            share = one.rows / self.rows if self.rows else 0.0
            yield f"{one.route}, {one.reason}", f"{one.rows:,} ({share:.2%})"
        if self.audits or self.lost_audits:
            lost = f"; {self.lost_audits:,} drawn and not asked" if self.lost_audits else ""
            yield "audits", f"{self.disagreements:,} of {self.audits:,} differ{lost}"
        yield "student", f"${self.student_usd:.6f}"
        yield "teacher", f"${self.teacher_usd:.6f} at {self.price}"
        if self.broken_calls:
            yield (
                "of that, calls without an answer",
                f"{self.broken_calls:,}, at most ${self.broken_usd:.6f}",
            )
        for fault in self.faults:
            yield "no text", fault
        if self.of(Route.DEGRADED):
            yield "degraded", "the student's answers where it was not sure and nobody else answered"
        yield "certificate", self.statement
        if self.alarmed:
            yield "promise", "audits say that it is broken: every row went to the teacher"


def summary_of(
    records: list[ChunkRecord], *, out: str, bundle: str, statement: str, price: str, alarmed: bool
) -> BatchSummary:
    """Add up the chunks of a job."""
    tallies = added([one for record in records for one in record.tallies])
    order = {
        (route.value, reason.value): i
        for i, (route, reason) in enumerate((ro, re) for ro in Route for re in Reason)
    }
    return BatchSummary(
        out,
        bundle,
        statement,
        price,
        tuple(tallies[key] for key in sorted(tallies, key=order.__getitem__)),
        sum(record.audits for record in records),
        sum(record.disagreements for record in records),
        sum(record.lost_audits for record in records),
        sum(record.broken_calls for record in records),
        sum((record.broken_usd for record in records), Decimal(0)),
        tuple(fault for record in records for fault in record.faults)[:5],
        alarmed,
    )
