"""What was saved: what the same requests would have cost at the teacher, less all that was paid.

What the teacher answered has its own cost, to the token. What the student kept was never asked; its
cost is that of the kept answers which the router drew for an audit by its own chance, each counting
for 1 / its propensity: the teacher's own token counts, at the cached and dated prices of that
moment. Only this part is estimated, and only it has an interval. Refused, degraded and
student-only requests are not counted as saved, what they cost is counted as paid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from router.errors import BadLedger
from router.ledger.view import open_view

FEWEST = 30
"""Audits below which no interval is given: it rests on a central limit."""
TIGHT_AT = 1_000
"""Audits at which the interval is tightest, for its width."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Savings:
    """One stretch of time of one task; dollars.

    `counterfactual` is None while no kept answer was audited, `margin` while fewer than `FEWEST`
    were. `unpriced` requests have a part of unknown price: it is in no sum.
    """

    start: float
    end: float
    """Unix time, seconds."""
    first: float | None
    """Moment of the first request in it; None: there is none."""
    requests: int
    kept: int
    escalated: int
    not_counted: int
    """Refused, degraded, or asked of the student alone: paid for, and not counted as saved."""
    teacher_usd: Decimal
    """Paid: escalations, audits, retries, hedges, cancelled and failed calls, calls passed on."""
    student_usd: Decimal
    """Paid: each answer's share of its machine, or the rent of the machines, where that is more."""
    counterfactual: Decimal | None
    margin: Decimal | None
    audits: int
    unpriced: int
    estimated: int
    """Requests with a lost attempt, whose usage the teacher did not say."""

    @property
    def paid(self) -> Decimal:
        """All that was paid."""
        return self.teacher_usd + self.student_usd

    @property
    def saved(self) -> Decimal | None:
        """The difference; below 0: it would have been cheaper at the teacher."""
        return None if self.counterfactual is None else self.counterfactual - self.paid

    @property
    def interval(self) -> tuple[Decimal, Decimal] | None:
        """95 % confidence sequence of `saved`: it may be looked at at any time."""
        if self.saved is None or self.margin is None:
            return None
        return self.saved - self.margin, self.saved + self.margin


def read_savings(
    source: str | Path,
    task: str,
    start: float,
    end: float,
    *,
    rent_usd_per_hour: Decimal = Decimal(0),
) -> Savings:
    """Add up a stretch of the ledger, also while a router writes to it.

    Args:
        source: the ledger's file, or the address of the database.
        task: whose requests.
        start: Unix time; the stretch begins with the first row from there on.
        end: Unix time, not included.
        rent_usd_per_hour: of the student's machines, paid whether busy or idle.

    Raises:
        BadLedger: there is no ledger, or of a part of the stretch only daily sums are kept.
        BadDatabase: the database cannot be used.
    """
    with open_view(source) as ledger:
        if start < ledger.folded_until:
            raise BadLedger(
                f"of the time before {ledger.folded_until:.0f} (Unix seconds) only daily sums are "
                "kept; begin there, or raise RAISEHAND_LEDGER_KEEP_DAYS"
            )
        (
            first, requests, kept, escalated, passed, unpriced, estimated, *money,
            own, own_rest, audits, w, wc, ww, wwc, wwcc, fpc,
        ) = ledger.row(_SUMS, (task, start, end))  # fmt: skip
    student, teacher = _usd(*money[:2]), _usd(*money[2:])
    hours = Decimal(0 if first is None else max(0.0, end - max(start, first)) / 3600.0)
    estimate, margin = _of_kept(kept, audits, w, wc, ww, wwc, wwcc, fpc)
    known = _usd(own, own_rest)
    return Savings(
        start=start,
        end=end,
        first=first,
        requests=requests,
        kept=kept,
        escalated=escalated,
        not_counted=requests - kept - escalated - passed,
        teacher_usd=teacher,
        student_usd=max(student, rent_usd_per_hour * hours),
        counterfactual=None if estimate is None else known + estimate,
        margin=margin,
        audits=audits,
        unpriced=unpriced,
        estimated=estimated,
    )


def asymptotic_margin(deviation: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Half-width of a confidence sequence of a mean, by a central limit that holds at every n.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Time-uniform central limit theory and
    asymptotic confidence sequences, theorem 2.2; tightest at `TIGHT_AT`.
    """
    alpha = 1.0 - confidence
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TIGHT_AT
    grown = n * rho2 + 1
    return deviation * math.sqrt(2 * grown / (n * n * rho2) * math.log(math.sqrt(grown) / alpha))


def _of_kept(
    kept: int, n: int, w: float, wc: float, ww: float, wwc: float, wwcc: float, fpc: float
) -> tuple[Decimal | None, Decimal | None]:
    """Estimate what the kept answers would have cost: (sum, margin).

    w = 1 / propensity and c = cost, summed over audits: the Hájek mean times the kept ones, with
    its linearised variance. What was audited is known, so that only the rest is in doubt (`fpc`).
    """
    if not kept:
        return Decimal(0), Decimal(0)
    if not n:
        return None, None
    mean = wc / w
    variance = max(0.0, wwcc - 2 * mean * wwc + mean * mean * ww) / (w * w)  # of the mean
    margin = None
    if n >= FEWEST:
        spread = math.sqrt(variance * n * max(0.0, 1.0 - fpc / n))
        margin = Decimal(kept * asymptotic_margin(spread, n))
    return Decimal(kept * mean), margin


def _usd(whole_micro: int, rest_pico: int) -> Decimal:
    return Decimal(int(whole_micro) * 1_000_000 + int(rest_pico)).scaleb(-12)


_KEPT = "(route = 'student' and reason = 'confident')"
_ESCALATED = "(route = 'teacher' and reason not in ('passthrough', 'teacher_check'))"
_PASSED = "(reason = 'passthrough')"
_NO_REQUEST = "(reason = 'teacher_check')"
"""A question of the router's own: paid for, and nothing that anybody else would have asked."""
_AUDIT = (
    f"({_KEPT} and audited = 1 and propensity > 0 and attempts = 1 and teacher_pusd is not null "
    "and teacher_label is not null)"
)
_COST = "(cast(teacher_pusd as double precision) / 1e12)"
_OWN = (  # of what the teacher answered: one call of each, as far as it took several
    f"case when {_ESCALATED} and attempts > 1 then teacher_pusd / attempts "
    f"when {_ESCALATED} or {_PASSED} then teacher_pusd else 0 end"
)
_DOLLARS = ", ".join(
    f"coalesce(sum({amount} / 1000000), 0), coalesce(sum({amount} %% 1000000), 0)"
    for amount in ("student_pusd", "teacher_pusd", f"({_OWN})")
)
_SUMS = f"""
select min(at), count(*) filter (where not {_NO_REQUEST}), count(*) filter (where {_KEPT}),
       count(*) filter (where {_ESCALATED}), count(*) filter (where {_PASSED}),
       count(*) filter (where student_pusd is null or teacher_pusd is null),
       count(*) filter (where estimated = 1),
       {_DOLLARS},
       count(w), coalesce(sum(w), 0.0), coalesce(sum(w * c), 0.0), coalesce(sum(w * w), 0.0),
       coalesce(sum(w * w * c), 0.0), coalesce(sum(w * w * c * c), 0.0), coalesce(sum(1 / w), 0.0)
from (
    select entries.*, case when {_AUDIT} then 1 / propensity end as w,
           case when {_AUDIT} then {_COST} end as c
    from {{entries}} where task = %s and {{since}} and {{before}} and surface <> 'batch'
) as weighed
"""
