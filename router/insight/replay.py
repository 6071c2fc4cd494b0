"""What another threshold would have done with the traffic that was: an estimate without new calls.

What each request would have been is known from its confidence; only whether a kept answer agrees is
not, unless the teacher was asked. So disagreement is estimated on what the router drew by its own
chance: kept and audited, or escalated anyway, where the teacher's answer lies beside the student's.
Both sides of a threshold then have the same propensity. Where the rate of audits changed, those
drawn more often are thinned to the rarest; the sample is plain again, and its interval exact.

A look back is no certificate: of several thresholds the best looks better than it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from router.errors import BadLedger
from router.insight.accuracy import Portion
from router.ledger.view import LedgerView, open_view

MOST_LOST = 0.05
"""Share of drawn requests that may lack the teacher's answer before nothing is said."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One threshold: kept at or above it, asked below.

    `disagreement` is over all answers (the `system` promise), None where too much was lost;
    `of_kept` over those kept (`strict`). `teacher_usd` is what the escalations of these requests
    would have cost, by the mean of those that were; None: none was priced.
    """

    threshold: float
    kept: Portion
    disagreement: Portion | None
    of_kept: Portion | None
    teacher_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Replay:
    """Several thresholds over the requests of one bundle."""

    bundle: str
    requests: int
    drawn: int
    """Drawn at random, after thinning: the effective sample."""
    lost: int
    """Of these, without the teacher's answer."""
    thresholds: tuple[Replayed, ...]

    @property
    def valid(self) -> bool:
        """Whether enough of what was drawn can be compared."""
        return self.drawn > 0 and self.lost <= MOST_LOST * self.drawn


class _Drawn(msgspec.Struct, gc=False):
    """One request that the router drew."""

    confidence: float
    differs: bool | None
    """None: nobody knows."""


def replay(
    source: str | Path,
    task: str,
    thresholds: Sequence[float],
    bundle: str | None = None,
    since: float = 0,
) -> Replay:
    """Replay a ledger under each threshold; of the bundle that answered last, unless one is named.

    Raises:
        BadLedger: there is no ledger, or nothing in it that can be replayed.
        BadDatabase: the database cannot be used.
    """
    with open_view(source) as ledger:
        if not ledger.labelled:
            raise BadLedger(
                f"{ledger.name} does not say what the students said; it was written by an older "
                "version: serve with this one for a while"
            )
        bundle = bundle or _last_bundle(ledger, task)
        where = (task, bundle, since)
        above = ", ".join(["count(*) filter (where confidence >= %s)"] * len(thresholds))
        counts = ledger.row(
            f"select count(*), {above} from {{entries}} where {_SCORED}", (*thresholds, *where)
        )
        drawn = _drawn(ledger, where)
        (mean_pusd,) = ledger.row(
            f"select avg(teacher_pusd) from {{entries}} where {_SCORED} and attempts = 1", where
        )
        name = ledger.name
    requests, kept = counts[0], counts[1:]
    if not requests:
        raise BadLedger(f"{name} has no answer of bundle {bundle} to task {task}; name another")
    lost = sum(one.differs is None for one in drawn)
    price = None if mean_pusd is None else Decimal(round(mean_pusd)).scaleb(-12)
    whole = Replay(bundle, requests, len(drawn), lost, ())
    return Replay(
        bundle,
        requests,
        len(drawn),
        lost,
        tuple(
            _replayed(threshold, n, requests, drawn if whole.valid else [], price)
            for threshold, n in zip(thresholds, kept, strict=True)
        ),
    )


def _replayed(
    threshold: float, kept: int, requests: int, drawn: Sequence[_Drawn], price: Decimal | None
) -> Replayed:
    compared = [one for one in drawn if one.differs is not None]
    above = [one for one in compared if one.confidence >= threshold]
    differ = sum(bool(one.differs) for one in above)
    return Replayed(
        threshold,
        Portion(kept, requests),
        Portion(differ, len(compared)) if compared else None,
        Portion(differ, len(above)) if above else None,
        None if price is None else price * (requests - kept),
    )


def _last_bundle(ledger: LedgerView, task: str) -> str:
    rows = ledger.execute(
        "select bundle from {entries} where task = %s and student_label is not null "
        "order by at desc limit 1",
        (task,),
    )
    if not rows:
        raise BadLedger(f"{ledger.name} has no answer of a student to task {task}; serve it first")
    return str(rows[0][0])


def _drawn(ledger: LedgerView, where: tuple[str, str, float]) -> list[_Drawn]:
    rows = ledger.execute(_DRAWN, where)
    rarest = min((row[0] for row in rows), default=1.0)
    return [
        _Drawn(confidence, None if teacher is None else teacher != student)
        for propensity, its_id, at, confidence, student, teacher in rows
        if _coin(its_id, at) * propensity < rarest
    ]


def _coin(its_id: str, at: float) -> float:
    """Return a number in [0, 1) that is the same at every look at the same row."""
    digest = hashlib.blake2b(f"{at!r} {its_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


_SCORED = (
    "task = %s and bundle = %s and {since} and student_label is not null "
    # Of a table's rows only those have entries that were asked about.
    "and reason <> 'student_only' and surface <> 'batch'"
)
_DRAWN = (
    "select propensity, request_id, at, confidence, student_label, teacher_label "
    f"from {{entries}} where {_SCORED} and propensity > 0"
)
