"""What money needs to know of one deployment, each field open to a what-if."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from costmodel.errors import BadProjection
from costmodel.faults import first_fault
from costmodel.fields import NotNegative, NotNegativeUsd, Positive, Share
from costmodel.frozen import Frozen
from costmodel.inputs.asking import SLOTS, TIMEOUT_S
from costmodel.inputs.changes import changed
from costmodel.inputs.limits import Limits, Promise
from costmodel.inputs.profile import StudentProfile
from costmodel.inputs.stated_doubt import Doubt
from costmodel.money.pricelist import PriceList
from costmodel.money.pricing import PriceSpec, Processing

ASSUMED_LATENCY_S = 0.6
"""Of a teacher's call that nobody measured: an API's short answer."""


class TeacherTerms(Frozen):
    """How the teacher is paid; how long it takes and how many calls it takes at once."""

    price: PriceSpec
    min_machines: int = Field(default=1, ge=1)
    """Machines kept, paid busy or idle, if it is rented by the hour."""
    max_concurrency: int = Field(default=SLOTS, ge=1)
    timeout_s: Positive = TIMEOUT_S
    latency_s: Positive | None = None
    """Mean seconds of a call; None: nobody measured it, and `ASSUMED_LATENCY_S` is taken."""
    max_requests_per_second: NotNegative | None = None
    """The router's escalation budget; beyond it answers are degraded."""
    max_usd_per_hour: NotNegativeUsd | None = None
    hedge: bool = False
    """Whether a late call is asked a second time, beside."""
    on_failure: Literal["student", "error"] = "student"

    @property
    def mean_latency_s(self) -> float:
        """Mean seconds of a call, assumed where nobody measured it."""
        return ASSUMED_LATENCY_S if self.latency_s is None else self.latency_s


class StudentTerms(Frozen):
    """How the student is paid; the defaults are those of a task file."""

    price: PriceSpec = PriceSpec(machine="aws:c7i.large", requests_per_second=2000)
    min_machines: int = Field(default=2, ge=1)


class TrafficTerms(Frozen):
    """How much there is to answer."""

    requests_per_day: Positive = 10_000_000


class FleetTerms(Frozen):
    """How machines are sized; see `costmodel.bill.rails.Fleet`."""

    peak_to_mean: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.3
    max_utilisation: Annotated[float, Field(gt=0, le=1)] = 0.7


class OperationTerms(Frozen):
    """Billed teacher calls per escalation, and what recurs each month."""

    attempts: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    monthly_usd: NotNegativeUsd = Decimal(0)
    audit_processing: Processing | None = None
    """Terms on which audits are asked, e.g. batch: they may wait. None: as escalations."""


class OneOffTerms(Frozen):
    """Paid once."""

    labelling_usd: NotNegativeUsd = Decimal(0)
    training_usd: NotNegativeUsd = Decimal(0)
    other_usd: NotNegativeUsd = Decimal(0)


class UsageTerms(Frozen):
    """Teacher tokens of the mean request, and how much longer escalated requests are."""

    input_tokens: NotNegative = 0.0
    output_tokens: NotNegative = 0.0
    cached_input_tokens: NotNegative = 0.0
    """Of these, read from the supplier's cache, as its answers said."""
    fixed_input_tokens: int = Field(default=0, ge=0)
    cache_ttl_s: Positive = 300.0
    escalated_factor: Positive = 1.0
    input_quantiles: tuple[NotNegative, ...] = ()
    """Evenly spaced quantiles of a request's input tokens, for prices with tiers; only their
    proportions count. Empty: every request is the mean one."""

    @model_validator(mode="after")
    def _cached_within_input(self) -> Self:
        if self.cached_input_tokens > self.input_tokens:
            raise ValueError(
                f"cached_input_tokens {self.cached_input_tokens:g} is more than "
                f"input_tokens {self.input_tokens:g}"
            )
        return self


class CountTerms(Frozen):
    """Test rows of the evaluation: all, escalated, kept but different from the teacher's."""

    n: int = Field(ge=1)
    escalated: int = Field(ge=0)
    disagreements: int = Field(default=0, ge=0)


class Deployment(Frozen):
    """Everything a projection needs, each field open to a what-if."""

    name: str
    bundle: str | None = None
    teacher: TeacherTerms
    student: StudentTerms = StudentTerms()
    traffic: TrafficTerms = TrafficTerms()
    audit_rate: Share = 0.01
    max_cost_ratio: Positive | None = None
    promise: Promise = Promise()
    certified: Promise | None = None
    """What the bundle's certificate says of its threshold; None: nothing is certified."""
    limits: Limits = Limits()
    """What may fail before a cheap system is no system."""
    cost_of_refusal: NotNegative = 0.0
    cost_of_wrong_answer: NotNegative = 0.0
    """Of an answer that differs from the teacher's."""
    evaluation: CountTerms
    unusable: Share = 0.0
    """Share of the escalated test rows to which the teacher's answer was no label."""
    unusable_rows: int = Field(default=0, ge=0)
    """All test rows of the kind; those that are kept count as disagreeing."""
    usage: UsageTerms | None = None
    """None: nobody counted the teacher's tokens."""
    fleet: FleetTerms = FleetTerms()
    operation: OperationTerms = OperationTerms()
    one_off: OneOffTerms = OneOffTerms()
    decision_api: PriceSpec | None = PriceSpec(model="openai:gpt-6-luna")
    """A cheap public model as the third baseline; nobody checked that it does the job."""
    prices: PriceList | None = None
    """Agreed prices, discounts, currency and tax."""
    curve: tuple[tuple[float, int, int], ...] = ()
    """Thresholds with rows kept and kept rows that disagree, from the evaluation."""
    certified_threshold: float | None = None
    training_s: NotNegative = 0.0
    """Seconds one training took; they are priced as hours of a student machine."""
    doubt: Doubt = Doubt()
    """How far the inputs may be off that nothing above counts."""
    profile: StudentProfile | None = None
    """How fast the student is, for the simulator."""

    @property
    def risk_coverage(self) -> tuple[tuple[float, float, float], ...]:
        """The curve as threshold, share kept, share of the kept that disagrees."""
        n = self.evaluation.n
        return tuple((t, kept / n, wrong / kept if kept else 0.0) for t, kept, wrong in self.curve)

    @property
    def unsure_disagreement(self) -> float | None:
        """Share of the escalated rows on which the student alone differs from the teacher.

        None: nothing escalates, or the curve has no threshold that keeps every row.
        """
        counts = self.evaluation
        alone = [wrong for _, kept, wrong in self.curve if kept == counts.n]
        if not alone or not counts.escalated:
            return None
        return max(alone[0] - counts.disagreements, 0) / counts.escalated


def with_changes(deployment: Deployment, changes: Mapping[str, Any]) -> Deployment:
    """Apply a what-if to a deployment.

    Raises:
        BadProjection: a field does not exist or does not allow the value.
    """
    try:
        return Deployment.model_validate(changed(deployment.model_dump(), changes))
    except ValidationError as error:
        raise BadProjection(first_fault(error)) from None


def at_threshold(deployment: Deployment, threshold: float) -> Deployment:
    """The deployment as if the student answered from another confidence on; nothing is certified.

    Raises:
        BadProjection: the evaluation kept no risk–coverage curve.
    """
    if not deployment.curve:
        raise BadProjection("the evaluation has no risk–coverage curve; give evaluation.escalated")
    n = deployment.evaluation.n
    # The student keeps what the next higher measured threshold keeps: never more than measured.
    above = [point for point in deployment.curve if point[0] >= threshold]
    _, kept, wrong = min(above) if above else (1.0, 0, 0)
    counts = CountTerms(n=n, escalated=n - kept, disagreements=wrong)
    changes: dict[str, Any] = {"evaluation": counts}
    if threshold != deployment.certified_threshold:
        changes["certified"] = None
    return deployment.model_copy(update=changes)
