"""What a projection rests on: counts, tokens, prices, traffic, what is paid once, how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from costmodel.errors import BadProjection
from costmodel.money.pricing import HOURS_PER_MONTH, Price, Processing, TokenUsage


@dataclass(frozen=True, slots=True)
class Counts:
    """What an evaluation counted on its test rows: escalated ones, and kept ones that disagree."""

    n: int
    escalated: int
    disagreements: int = 0

    def __post_init__(self) -> None:
        fine = self.n >= 1 and 0 <= self.escalated <= self.n
        if not fine or not 0 <= self.disagreements <= self.n - self.escalated:
            raise BadProjection(
                f"{self.escalated} escalated and {self.disagreements} disagreements among kept in "
                f"{self.n} rows cannot be; 0 ≤ escalated ≤ n and disagreements ≤ n − escalated"
            )


@dataclass(frozen=True, slots=True)
class TeacherUsage:
    """Tokens the teacher used on a sample of requests, and on those of them that escalate.

    Hard requests are often long: without `escalated`, they are taken to be like all others.
    `fixed_input_tokens` is the part of each prompt that never changes and could be cached.
    """

    all: TokenUsage
    escalated: TokenUsage | None = None
    fixed_input_tokens: int = 0
    cache_ttl_s: float = 300.0
    """Seconds a supplier's cache holds that part after its last use."""
    escalated_work: float = 1.0
    """Machine time of an escalated request over that of the mean one, where machines are rented."""

    def __post_init__(self) -> None:
        if self.all.requests < 1:
            raise BadProjection("the teacher's usage is of 0 requests; at least 1 is needed")
        if self.escalated is not None and self.escalated.requests < 1:
            raise BadProjection("the usage of escalated requests is of 0 requests; leave it out")


@dataclass(frozen=True, slots=True)
class Prices:
    """Who is paid how. `decision_api` is the cheapest model that might do the job."""

    teacher: Price
    student: Price
    decision_api: Price | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests in the product's month of 730 hours."""

    requests_per_month: Decimal

    def __post_init__(self) -> None:
        if not (self.requests_per_month.is_finite() and self.requests_per_month > 0):
            raise BadProjection(
                f"{self.requests_per_month} requests a month; a number above 0 is needed"
            )

    @classmethod
    def per_day(cls, requests: float | Decimal) -> Self:
        """From requests a day (24 hours)."""
        return cls(Decimal(str(requests)) * HOURS_PER_MONTH / 24)

    @property
    def requests_per_day(self) -> Decimal:
        """Requests in 24 hours."""
        return self.requests_per_month * 24 / HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class OneOff:
    """Paid once, before the first saving."""

    labelling_usd: Decimal = Decimal(0)
    training_usd: Decimal = Decimal(0)
    other_usd: Decimal = Decimal(0)

    @property
    def usd(self) -> Decimal:
        """All of it."""
        return self.labelling_usd + self.training_usd + self.other_usd

    @property
    def parts(self) -> dict[str, Decimal]:
        """Each by what people call it; 0 means that nobody stated it."""
        return {
            "labels": self.labelling_usd,
            "training": self.training_usd,
            "engineering, evaluation, migration": self.other_usd,
        }


@dataclass(frozen=True, slots=True)
class Failures:
    """Shares of the requests that fail, and the US dollars that each costs its user."""

    wrong: float = 0.0
    """Answered, but not as the teacher would."""
    refused: float = 0.0
    wrong_usd: Decimal = Decimal(0)
    refused_usd: Decimal = Decimal(0)
    wrong_alone: float | None = None
    """Share wrong if the student answered everything; None: nobody measured it."""

    @property
    def usd_per_request(self) -> Decimal:
        """Mean cost of failure of one request of the cascade."""
        wrong, refused = Decimal(repr(self.wrong)), Decimal(repr(self.refused))
        return wrong * self.wrong_usd + refused * self.refused_usd


@dataclass(frozen=True, slots=True)
class Operation:
    """How the cascade is run: audits, retries, and what recurs every month."""

    audit_rate: float = 0.01
    """Share of kept answers also asked of the teacher."""
    attempts: float = 1.0
    """Billed teacher calls per escalation; above 1 when calls are retried."""
    monthly_usd: Decimal = Decimal(0)
    """Retraining, fresh labels, monitoring."""
    audit_processing: Processing | None = None
    """Terms on which audits are asked; None: as escalations."""
    failures: Failures = Failures()

    def __post_init__(self) -> None:
        if not 0 <= self.audit_rate <= 1:
            raise BadProjection(f"audit_rate is {self.audit_rate}; it must be in [0, 1]")
        if not self.attempts >= 1:
            raise BadProjection(f"attempts is {self.attempts}; every escalation is asked once")
