"""Whether a system answers and keeps its promise: what has to be known before any dollar counts.

One object for a simulated run and for a closed form. A part that fails makes the saving void: a
saving on answers that nobody got is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import computed_field

from costmodel.bill.baselines import Band
from costmodel.bill.projection import Projection
from costmodel.bill.teacher_load import WHY_UNANSWERED, teacher_load
from costmodel.frozen import Frozen
from costmodel.inputs.deployment import Deployment
from costmodel.inputs.limits import Limits, Promise
from costmodel.intervals import binomial_interval

if TYPE_CHECKING:
    from costmodel.engine.result import Result

LEAST_REQUESTS = 10_000
LEAST_ESCALATIONS = 100
"""A simulation of fewer says nothing about a tail or a rare failure."""
_BIN = 1 / 128
"""Relative width of a cell of the simulator's histogram: what is due at a moment is not late."""
_WHY_REFUSED = {
    "queue_full": "the student's queue is full",
    "deadline": "they wait for the student beyond their deadline",
}


class Feasibility(Frozen):
    """What users get, beside what may fail and what was promised."""

    refused: float
    """Share of the requests that nobody answers."""
    unanswered: float
    """Share of the escalations that the teacher does not answer."""
    late: float
    """Share of the requests that are answered after their deadline."""
    deadline_s: float | None
    """None: a closed form knows of no deadline."""
    agreement: Band
    """Of the answers that the promise speaks of, with the 95 % interval of the evaluated rows."""
    agreement_answered: float
    """The same if the teacher answered every escalation."""
    promise: Promise | None
    certified: bool
    """Whether a certificate says what the promise says, at this threshold."""
    limits: Limits
    requests: int | None
    """Simulated ones; None: a closed form."""
    escalations: int | None
    unusable: str = ""
    """Test rows to which the teacher's answer was no label, in words."""
    why_refused: str = ""
    why_unanswered: str = ""
    assumed: str = ""
    """What `unanswered` rests on that nobody measured."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def answers(self) -> bool | None:
        """Whether it answers within the limits; None: it does not, on a figure that is assumed."""
        if self.refused > self.limits.most_refused or self.late > self.limits.most_late:
            return False
        if self.unanswered > self.limits.most_degraded:
            return None if self.assumed else False
        return True

    @computed_field  # type: ignore[prop-decorator]
    @property
    def keeps_promise(self) -> bool | None:
        """Whether the agreement is what was promised.

        None: nothing was promised, or it is kept unless the teacher is as slow as is assumed.
        """
        if self.promise is None:
            return None
        kept = self.agreement.mid >= self.promise.agreement
        if self.answers is None and self.agreement_answered >= self.promise.agreement:
            return True if kept else None
        return kept

    @computed_field  # type: ignore[prop-decorator]
    @property
    def enough(self) -> bool:
        """Whether enough was simulated to judge by."""
        if self.requests is None or self.escalations is None:
            return True
        few = 0 < self.escalations < LEAST_ESCALATIONS
        return self.requests >= LEAST_REQUESTS and not few


def feasible_run(result: Result) -> Feasibility:
    """Judge a simulated run."""
    scenario, counts = result.scenario, result.counts
    wanted = counts["wanted_teacher"]
    strict = scenario.promise is not None and scenario.promise.promise == "strict"
    answered = counts["requests"] - counts["refused"] - (counts["teacher"] if strict else 0)
    wrong = counts["disagreements"] / answered if answered else 0.0
    agreement = _agreement(wrong, scenario.quality.rows)
    on_time = result.slo(scenario.policy.deadline_s * (1 + _BIN))
    return Feasibility(
        refused=result.refused_rate,
        unanswered=1 - counts["teacher"] / wanted if wanted else 0.0,
        late=max(1 - on_time - result.refused_rate, 0.0),
        deadline_s=scenario.policy.deadline_s,
        agreement=agreement,
        agreement_answered=agreement.mid,
        promise=scenario.promise,
        certified=False,
        limits=scenario.limits,
        requests=counts["requests"],
        escalations=wanted,
        why_refused=_mostly(counts, _WHY_REFUSED) or _mostly(counts, WHY_UNANSWERED),
        why_unanswered=_mostly(counts, WHY_UNANSWERED),
    )


def feasible_deployment(deployment: Deployment, projection: Projection) -> Feasibility:
    """Judge a deployment by its mean rates: slots, budget and timeout of the teacher.

    Students are sized for the peak, so that none is refused.
    """
    counts, promise = deployment.evaluation, deployment.promise
    load = teacher_load(deployment, projection)
    degraded = load.unanswered * counts.escalated
    refuses = deployment.teacher.on_failure == "error"
    wrong = counts.disagreements + degraded * (deployment.unsure_disagreement or 0.0)
    rows: float = counts.n - (counts.escalated - degraded if promise.promise == "strict" else 0)
    return Feasibility(
        refused=degraded / counts.n if refuses else 0.0,
        unanswered=load.unanswered,
        late=0.0,
        deadline_s=None,
        agreement=_agreement(wrong / rows if rows else 0.0, max(round(rows), 1)),
        agreement_answered=evaluated_agreement(deployment),
        promise=promise,
        certified=certifies(deployment.certified, promise),
        limits=deployment.limits,
        requests=None,
        escalations=None,
        why_refused=load.why,
        unusable=_unusable(deployment),
        why_unanswered=load.why,
        assumed=assumed_latency(deployment),
    )


def evaluated_agreement(deployment: Deployment) -> float:
    """Agreement of the answers that the promise speaks of, as the evaluation counted it."""
    counts, strict = deployment.evaluation, deployment.promise.promise == "strict"
    rows = counts.n - counts.escalated if strict else counts.n
    return 1 - counts.disagreements / rows if rows else 1.0


def _unusable(deployment: Deployment) -> str:
    rows = deployment.unusable_rows
    return f"{rows:,} of {deployment.evaluation.n:,} test rows" if rows else ""


def assumed_latency(deployment: Deployment) -> str:
    """What nobody measured of the teacher's speed, in words; nothing where it does not matter."""
    too_many = deployment.unusable > deployment.limits.most_degraded
    if deployment.teacher.latency_s is not None or too_many:
        return ""
    return f"a call takes {deployment.teacher.mean_latency_s:g} s"


def _agreement(wrong: float, rows: int) -> Band:
    low, high = binomial_interval(min(round(wrong * rows), rows), rows)
    return Band(low=1 - max(high, wrong), mid=1 - wrong, high=1 - min(low, wrong))


def certifies(certified: Promise | None, promise: Promise) -> bool:
    """Whether a certificate says at least what is promised."""
    return (
        certified is not None
        and certified.promise == promise.promise
        and certified.agreement >= promise.agreement
        and certified.confidence >= promise.confidence
    )


def _mostly(counts: Mapping[str, int], words: Mapping[str, str]) -> str:
    name = max(words, key=lambda name: counts.get(name, 0))
    return words[name] if counts.get(name, 0) else ""
