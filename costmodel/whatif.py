"""What if: read a deployment, change it, project its month.

deployment = read_deployment(Path("task.yaml"), changes={"traffic.requests_per_day": 1e6})
projection = project_deployment(deployment)
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import numpy as np

from costmodel.bill.baselines import BASELINES, UsdBand
from costmodel.bill.feasibility import Feasibility, feasible_deployment
from costmodel.bill.machines import Fleet, TeacherFleet
from costmodel.bill.projection import Projection, project
from costmodel.bill.verdict import Money, Verdict, judge
from costmodel.errors import BadProjection
from costmodel.inputs.assumptions import (
    Counts,
    Failures,
    OneOff,
    Operation,
    Prices,
    TeacherUsage,
    Traffic,
)
from costmodel.inputs.deployment import Deployment, UsageTerms
from costmodel.money.pricebook import old_prices, price_of
from costmodel.money.pricing import SECONDS_PER_HOUR, MachinePrice, TokenUsage, now
from costmodel.money.sizes import Sizes

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
    own, other = deployment.prices, deployment.decision_api
    student = price_of(deployment.student.price, at=starts, own=own)
    prices = Prices(
        teacher=price_of(deployment.teacher.price, at=starts, own=own),
        student=student,
        decision_api=price_of(other, at=starts, own=own) if other else None,
    )
    training = once.training_usd
    if isinstance(student, MachinePrice):
        hours = Decimal(repr(deployment.training_s)) / SECONDS_PER_HOUR
        training += hours * student.usd_per_hour
    projection = project(
        Counts(counts.n, counts.escalated, counts.disagreements),
        teacher_usage(deployment),
        prices,
        Traffic.per_day(deployment.traffic.requests_per_day),
        fleet=Fleet(
            deployment.student.min_machines,
            deployment.fleet.peak_to_mean,
            deployment.fleet.max_utilisation,
        ),
        teacher_fleet=_teacher_fleet(deployment),
        one_off=OneOff(once.labelling_usd, training, once.other_usd),
        operation=Operation(
            deployment.audit_rate,
            deployment.operation.attempts,
            deployment.operation.monthly_usd,
            deployment.operation.audit_processing,
            failures=failures_stated(deployment),
        ),
        starts=starts,
    )
    used = [price for price in (prices.teacher, student, prices.decision_api) if price]
    return projection.model_copy(update={"warnings": old_prices(used, now().date())})


def failures_stated(deployment: Deployment) -> Failures:
    """What wrong answers cost; the evaluation knows those of the kept rows."""
    counts, unsure = deployment.evaluation, deployment.unsure_disagreement
    kept = counts.disagreements / counts.n
    return Failures(
        wrong=kept,
        wrong_usd=Decimal(repr(deployment.cost_of_wrong_answer)),
        refused_usd=Decimal(repr(deployment.cost_of_refusal)),
        wrong_alone=None if unsure is None else kept + unsure * counts.escalated / counts.n,
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

    spread = None
    if len(usage.input_quantiles) > 1 and any(usage.input_quantiles):
        spread = Sizes.of(np.asarray(usage.input_quantiles, np.float64))

    def tokens(factor: float) -> TokenUsage:
        read = round(usage.input_tokens * factor * _SAMPLE)
        cached = min(round(usage.cached_input_tokens * factor * _SAMPLE), read)
        written = round(usage.output_tokens * _SAMPLE)
        return TokenUsage(read, written, cached, _SAMPLE, sizes=spread)

    longer = tokens(usage.escalated_factor) if usage.escalated_factor != 1 else None
    return TeacherUsage(
        tokens(1.0),
        longer,
        usage.fixed_input_tokens,
        usage.cache_ttl_s,
        escalated_work=usage.escalated_factor,
    )


def _teacher_fleet(deployment: Deployment) -> TeacherFleet:
    """A teacher's own machines, sized for the same peak as the student's."""
    sized = deployment.fleet
    fleet = Fleet(deployment.teacher.min_machines, sized.peak_to_mean, sized.max_utilisation)
    return TeacherFleet(fleet, fleet)


def verdict(deployment: Deployment, projection: Projection) -> Verdict:
    """Whether it answers, keeps its promise and pays, in one sentence that a manager can repeat."""
    feasible = feasible_deployment(deployment, projection)
    return verdict_of(deployment, projection, projection.savings, feasible)


def verdict_of(
    deployment: Deployment, projection: Projection, saving: UsdBand, feasible: Feasibility
) -> Verdict:
    """The same for a saving and a feasibility from elsewhere: a simulation of the deployment."""
    moves = saving.mid - projection.savings.mid
    cheaper = [BASELINES[b.name] for b in projection.baselines if b.saving.mid + moves < 0]
    money = Money(
        float(saving.low),
        float(saving.mid),
        float(saving.high),
        tuple(cheaper),
        cost_ratio=projection.cost_ratio.mid,
        most_cost_ratio=deployment.max_cost_ratio,
    )
    return judge(feasible, money)
