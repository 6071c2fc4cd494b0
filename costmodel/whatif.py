"""What if: read a deployment, change it, project its month.

deployment = read_deployment(Path("task.yaml"), changes={"traffic.requests_per_day": 1e6})
projection = project_deployment(deployment)
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from costmodel.bill.baselines import BASELINES
from costmodel.bill.projection import Projection, project
from costmodel.bill.rails import Fleet
from costmodel.errors import BadProjection
from costmodel.inputs.assumptions import Counts, OneOff, Operation, Prices, TeacherUsage, Traffic
from costmodel.inputs.deployment import Deployment, UsageTerms
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import SECONDS_PER_HOUR, MachinePrice, TokenUsage, now

_SAMPLE = 1_000_000
"""Requests over which a mean number of tokens is made whole."""


def project_deployment(deployment: Deployment, *, starts: datetime | None = None) -> Projection:
    """Project the month that begins at `starts`, now if not given.

    Raises:
        UnknownPrice: a price in the files is known to nobody.
        BadProjection: the counts or the usage cannot be.
    """
    starts = starts or now()
    counts = deployment.evaluation
    once = deployment.one_off
    student = price_of(deployment.student.price, at=starts)
    training = once.training_usd
    if isinstance(student, MachinePrice):
        hours = Decimal(repr(deployment.training_s)) / SECONDS_PER_HOUR
        training += hours * student.usd_per_hour
    return project(
        Counts(counts.n, counts.escalated, counts.disagreements),
        teacher_usage(deployment),
        Prices(
            teacher=price_of(deployment.teacher.price, at=starts),
            student=student,
            decision_api=(
                price_of(deployment.decision_api, at=starts) if deployment.decision_api else None
            ),
        ),
        Traffic.per_day(deployment.traffic.requests_per_day),
        fleet=Fleet(
            deployment.student.min_machines,
            deployment.fleet.peak_to_mean,
            deployment.fleet.max_utilisation,
        ),
        one_off=OneOff(once.labelling_usd, training, once.other_usd),
        operation=Operation(
            deployment.audit_rate, deployment.operation.attempts, deployment.operation.monthly_usd
        ),
        starts=starts,
    )


def teacher_usage(deployment: Deployment) -> TeacherUsage:
    """The teacher's tokens of a million mean requests, and of as many escalated ones."""
    usage = deployment.usage
    if usage is None:
        if deployment.teacher.price.requests_per_second is None:
            raise BadProjection(
                "nobody counted the teacher's tokens (the labels of this bundle are gone); give "
                "--set usage.input_tokens=… --set usage.output_tokens=…"
            )
        usage = UsageTerms()

    def tokens(factor: float) -> TokenUsage:
        read = round(usage.input_tokens * factor * _SAMPLE)
        return TokenUsage(read, round(usage.output_tokens * _SAMPLE), requests=_SAMPLE)

    longer = tokens(usage.escalated_factor) if usage.escalated_factor != 1 else None
    return TeacherUsage(tokens(1.0), longer, usage.fixed_input_tokens)


def verdict(deployment: Deployment, projection: Projection) -> tuple[bool, str]:
    """Whether it pays, in one sentence that a manager can repeat."""
    low, mid, high = (
        projection.savings.low,
        projection.savings.mid,
        projection.savings.high,
    )
    limit = deployment.max_cost_ratio
    if high <= 0:
        return False, "It does not pay: the cascade costs more than asking the teacher everything."
    if mid <= 0 or low <= 0:
        return False, "It may not pay: the interval of the saving includes 0."
    if limit is not None and projection.cost_ratio.mid > limit:
        return False, (
            f"It saves money but misses the budget: {projection.cost_ratio.mid:.1%} of the "
            f"teacher's bill, {limit:.1%} allowed (max_cost_ratio)."
        )
    losing = [BASELINES[b.name] for b in projection.baselines if b.saving.mid < 0]
    if losing:
        other = " and than: ".join(losing)
        return True, f"It pays against the price given, but it costs MORE than: {other}."
    return True, "It pays against every baseline."
