"""One bundle under watch: who judges its audits, and the ruling that is in force.

The evidence is the store's (`router.shared`): audits of all workers are one stream, judged at the
whole of `FALSE_ALARM` however many workers there are, and a restart forgets nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Literal

from router.clock import Clock
from router.promise.monitor import Evidence, Monitor
from router.shared.records import Audit, Judge, Reopen, Ruling, Verdict
from students.labels import Prediction

FALSE_ALARM = 0.05
"""Probability that all audits of one bundle together ever raise a false alarm."""
BROKEN = "promise_broken"

Promise = Literal["system", "strict"]


class PromiseJudge:
    """Judges by the monitor: as certified, or, once it alarmed, everything escalates."""

    def __init__(self, monitor: Monitor, promise: Promise) -> None:
        self.monitor = monitor
        self._promise = promise

    def observe(self, audit: Audit) -> None:
        """Take one audit; an alarm is final, so that what comes later proves nothing."""
        if self.monitor.alarmed:
            return
        if not audit.escalated:
            self.monitor.observe(audit.disagreed, audit.propensity)
        elif self._promise == "system":  # over all traffic, what the teacher answers agrees
            self.monitor.observe(False, audit.propensity)

    @property
    def evidence(self) -> str:
        """All that is remembered."""
        return self.monitor.evidence.model_dump_json()

    @property
    def verdict(self) -> Verdict:
        """What follows from it."""
        figures = asdict(self.monitor.state) | {
            "status": self.monitor.state.status.value,
            "allowed": self.monitor.alpha,
            "alarm_at": 1.0 / self.monitor.false_alarm,
        }
        alarmed = self.monitor.alarmed
        return Verdict(escalate_all=alarmed, reason=BROKEN if alarmed else "", figures=figures)


def judged_by(promise: Promise, agreement: float) -> Reopen:
    """Return who judges a bundle that promises so much agreement with the teacher."""

    def reopen(evidence: str | None) -> Judge:
        if evidence is None:
            return PromiseJudge(Monitor(1.0 - agreement, false_alarm=FALSE_ALARM), promise)
        return PromiseJudge(Monitor.resume(Evidence.model_validate_json(evidence)), promise)

    return reopen


class Watch:
    """Watches one bundle in this process.

    Args:
        labels: of the task, in their order.
        reopen: who judges its audits.
        tell: takes an audit on its way to the store; must not block.
        wall: when an audit was made, in Unix seconds.
    """

    def __init__(
        self,
        task: str,
        bundle: str,
        labels: Sequence[str],
        reopen: Reopen,
        tell: Callable[[Audit], None],
        wall: Clock = time.time,
    ) -> None:
        self.task = task
        self.bundle = bundle
        self.reopen = reopen
        self.ruling = Ruling(task, bundle, 0, reopen(None).verdict)
        """The one in force; whoever follows the store puts the next one here."""
        self._labels = labels
        self._tell = tell
        self._wall = wall

    @property
    def alarmed(self) -> bool:
        """Whether everything must escalate."""
        return self.ruling.verdict.escalate_all

    @property
    def threshold(self) -> float | None:
        """Confidence below which the teacher must be asked; None: as the certificate says."""
        return self.ruling.verdict.threshold

    @property
    def e_value(self) -> float:
        """Evidence against the certificate, as the store has it."""
        return float(self.ruling.verdict.figures.get("e_value") or 1.0)

    def compared(
        self,
        request_id: str,
        propensity: float,
        student: Prediction | None,
        teacher: int | None,
        *,
        escalated: bool,
    ) -> None:
        """Tell what student and teacher said to a request that was drawn."""
        said = None if student is None else student.label
        sure = student is not None and math.isfinite(student.confidence)
        self._tell(
            Audit(
                task=self.task,
                bundle=self.bundle,
                at=self._wall(),
                request_id=request_id,
                propensity=propensity,
                escalated=escalated,
                student_label=None if said is None else self._labels[said],
                confidence=student.confidence if student is not None and sure else None,
                teacher_label=None if teacher is None else self._labels[teacher],
                # No label is no agreement: calibration rows without a usable answer count so, too.
                disagreed=said is None or said != teacher,
            )
        )
