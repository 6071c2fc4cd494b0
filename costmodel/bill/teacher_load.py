"""What the teacher's limits let through at the mean rate, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

from costmodel.bill.projection import Projection
from costmodel.inputs.asking import SLOT_WAIT_S
from costmodel.inputs.deployment import Deployment
from costmodel.money.pricing import SECONDS_PER_HOUR
from costmodel.queueing.closed_forms import given_up
from costmodel.units import DAY_S

LATENCY_CV = 0.5
"""How an API's time scatters where only its mean is known; the simulator's default too."""
WHY_UNANSWERED = {
    "escalation_budget": "the escalation budget is used up",
    "teacher_deadline": "the student takes all the time there is",
    "teacher_busy": "the teacher has no free slot",
    "teacher_throttled": "the teacher throttles",
    "breaker_open": "the teacher fails or throttles, so that the router spares it",
    "retry_budget": "the teacher fails or throttles too often to be asked again",
    "teacher_unavailable": "the teacher fails",
    "teacher_rejected": "the text and its answer are longer than the teacher's cache",
    "teacher_timeout": "the teacher is too late",
    "teacher_unsure": "its answers are no label",
}
"""Why an escalation got no answer of the teacher: the router's reason, and what people call it."""


@dataclass(frozen=True, slots=True)
class TeacherLoad:
    """Shares of the escalations that one limit after the other stops."""

    over_budget: float
    no_slot: float
    """Of those within the budget: no slot became free within the router's patience (M/M/c)."""
    too_late: float
    """Of those with a slot: the call takes longer than its timeout."""
    unusable: float = 0.0
    """Of those answered: the answer is no label, or a refusal."""

    @property
    def unanswered(self) -> float:
        """Share of the escalations that the teacher does not answer with a label."""
        in_time = (1 - self.over_budget) * (1 - self.no_slot) * (1 - self.too_late)
        return 1 - in_time * (1 - self.unusable)

    @property
    def why(self) -> str:
        """The limit that stops most."""
        shares = {
            "escalation_budget": self.over_budget,
            "teacher_busy": self.no_slot,
            "teacher_timeout": self.too_late,
            "teacher_unsure": self.unusable,
        }
        return WHY_UNANSWERED[max(shares, key=lambda name: shares[name])]


def teacher_load(deployment: Deployment, projection: Projection) -> TeacherLoad:
    """Hold the escalations and audits of a mean second against the teacher's limits."""
    teacher, attempts = deployment.teacher, deployment.operation.attempts
    share = deployment.evaluation.escalated / deployment.evaluation.n
    a_second = deployment.traffic.requests_per_day / DAY_S
    wanted = a_second * share
    if not wanted:
        return TeacherLoad(0.0, 0.0, 0.0)
    within = min(budget_per_s(deployment, projection) / wanted, 1.0)
    calls = wanted * within * attempts + a_second * (1 - share) * deployment.audit_rate
    mean_s = min(teacher.mean_latency_s, teacher.timeout_s)
    no_slot = given_up(calls, 1 / mean_s, SLOT_WAIT_S, teacher.max_concurrency) if calls else 0.0
    too_late = _longer(teacher.timeout_s, teacher.mean_latency_s)
    return TeacherLoad(1 - within, no_slot, too_late, deployment.unusable)


def budget_per_s(deployment: Deployment, projection: Projection) -> float:
    """Escalations a second that the router's budgets pay for; infinite without any."""
    teacher, allowed = deployment.teacher, math.inf
    if teacher.max_requests_per_second is not None:
        allowed = teacher.max_requests_per_second
    if teacher.max_usd_per_hour is not None:
        each = projection.rail("teacher_only").usd_per_1k / 1000
        dollars = float(each) * projection.escalated_cost_factor * projection.attempts
        allowed = min(allowed, float(teacher.max_usd_per_hour / SECONDS_PER_HOUR) / dollars)
    return allowed


def _longer(limit_s: float, mean_s: float) -> float:
    """Share of lognormal times above a limit."""
    sigma = math.sqrt(math.log1p(LATENCY_CV**2))
    return 0.5 * math.erfc((math.log(limit_s / mean_s) + sigma**2 / 2) / sigma / math.sqrt(2))
