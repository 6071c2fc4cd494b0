"""What one task of this worker is doing, as operators see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from router.process.following.steward import Steward
from router.service.served import Served
from router.shared.records import Figure


@dataclass(frozen=True, slots=True)
class TaskState:
    """What one task is doing now."""

    bundle: str
    previous: str | None
    canary: str | None
    canary_share: float
    thresholds: tuple[float, ...]
    raised_threshold: float | None
    queue_depth: int
    teacher_inflight: int
    teacher_limit: int
    teacher_refusal_probability: float
    escalation_budget_fill: float | None
    audits: Mapping[str, Figure] | None
    """What all workers' audits say of the current bundle's certificate."""
    audits_lost: int
    shadow: str | None = None
    duel: Mapping[str, Figure] | None = None
    """How the shadow does beside the current bundle, over all workers."""
    teacher_check: Mapping[str, Figure] | None = None
    """What asking the teacher again has shown; None: nobody does, or there are no labels here."""
    teacher_end: str | None = None
    """When its supplier ends the teacher, in words; None: no date is known."""
    version: int = 0
    """Of the operators' change that is in force here."""
    fault: str | None = None
    """Why their last one is not."""


def state_of(served: Served, steward: Steward) -> TaskState:
    """Read what a task is doing."""
    name, pipeline = served.task.name, served.pipeline
    slot, guard = pipeline.slot, pipeline.guard
    teacher = served.teacher_check.teacher if served.teacher_check else None
    return TaskState(
        bundle=slot.current.bundle,
        previous=slot.previous.bundle if slot.previous else None,
        canary=slot.canary.bundle if slot.canary else None,
        canary_share=slot.canary_share,
        thresholds=tuple(slot.current.thresholds),
        raised_threshold=pipeline.threshold,
        queue_depth=sum(model.batcher.depth for model in slot.models),
        teacher_inflight=guard.inflight,
        teacher_limit=guard.bulkhead.limit,
        teacher_refusal_probability=guard.throttle.refusal_probability,
        escalation_budget_fill=pipeline.budget.fill if pipeline.budget else None,
        audits=slot.current.watch.ruling.verdict.figures if slot.current.watch else None,
        audits_lost=pipeline.auditor.lost if pipeline.auditor else 0,
        shadow=slot.shadow.bundle if slot.shadow else None,
        duel=pipeline.shadow.ruling.verdict.figures
        if pipeline.shadow and pipeline.shadow.ruling
        else None,
        teacher_check=teacher.ruling.verdict.figures if teacher else None,
        teacher_end=served.retirement.words if served.retirement else None,
        version=steward.version(name),
        fault=steward.fault(name),
    )
