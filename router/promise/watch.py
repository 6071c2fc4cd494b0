"""One bundle under watch: who judges its audits, and the ruling that is in force.

The evidence is the store's (`router.shared`): audits of all workers are one stream, judged with one
budget of false alarms however many workers there are, and a restart forgets nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import ValidationError

from router.clock import Clock
from router.errors import BadSettings
from router.promise.hints import InputHints
from router.promise.ladder import OVERALL, LadderEvidence, PromiseLadder, Rules, Standing
from router.shared.records import Audit, AuditVerdict, Figure, Judge, Reopen, Ruling
from students.labels import Prediction
from students.runtime.bundle import Manifest

BROKEN, RAISED = "promise_broken", "threshold_raised"
"""Why the teacher answers what the certificate would have left to the student."""
OF_CLASS = " of "
"""Between the name of a figure and the label that it is about."""


def class_figures(figures: Mapping[str, Figure]) -> dict[str, tuple[int, int, float]]:
    """Return audits, disagreements and share allowed of each label with a promise of its own."""
    prefix = f"audits{OF_CLASS}"
    labels = [name.removeprefix(prefix) for name in figures if name.startswith(prefix)]
    return {
        label: (
            int(figures[f"audits{OF_CLASS}{label}"] or 0),
            int(figures[f"disagreements{OF_CLASS}{label}"] or 0),
            float(figures[f"allowed{OF_CLASS}{label}"] or 0.0),
        )
        for label in labels
    }


class PromiseJudge:
    """Judges by the ladder: how sure the student has to be, or that only the teacher answers."""

    def __init__(self, ladder: PromiseLadder) -> None:
        self.ladder = ladder

    def observe(self, audit: Audit) -> None:
        """Take one audit."""
        self.ladder.observe(audit)

    @property
    def evidence(self) -> str:
        """All that is remembered."""
        return self.ladder.evidence.model_dump_json()

    @property
    def verdict(self) -> AuditVerdict:
        """What follows from it now."""
        ladder = self.ladder
        reasons = {Standing.ALARM: BROKEN, Standing.RAISED: RAISED, Standing.VOID: ladder.void}
        return AuditVerdict(
            escalate_all=ladder.standing in (Standing.ALARM, Standing.VOID),
            threshold=ladder.threshold,
            reason=reasons.get(ladder.standing, ""),
            eagerness=ladder.eagerness,
            figures=self._figures,
        )

    @property
    def _figures(self) -> dict[str, Figure]:
        ladder = self.ladder
        served = ladder.monitors[OVERALL].state
        return {
            "status": ladder.standing.value,
            "rung": ladder.rung,
            "rungs": ladder.rules.top,
            "threshold": ladder.threshold,
            "audits": served.audits,
            "disagreements": served.disagreements,
            "disagreement": served.disagreement,
            "allowed": ladder.rules.alphas[OVERALL],
            "e_value": max(ladder.e_values.values()),
            "alarm_at": ladder.alarm_at,
            "broken": ", ".join(name or "overall" for name in sorted(ladder.accused)),
            "proof": ladder.proof,
            "proved_at": ladder.proved_at,
            "alarms": ladder.spell - 1,
            **self._of_classes,
            **ladder.void_figures,
        }

    @property
    def _of_classes(self) -> dict[str, Figure]:
        """What audits say of each label with a promise of its own."""
        figures: dict[str, Figure] = {}
        for label, monitor in self.ladder.monitors.items():
            if label != OVERALL:
                figures |= {
                    f"audits{OF_CLASS}{label}": monitor.state.audits,
                    f"disagreements{OF_CLASS}{label}": monitor.state.disagreements,
                    f"allowed{OF_CLASS}{label}": self.ladder.rules.alphas[label],
                }
        return figures


def judged_by(
    promise: Literal["system", "strict"],
    agreement: float,
    *,
    classes: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    rungs: Sequence[float] = (),
) -> Reopen:
    """Return who judges a bundle that promises so much agreement with the teacher.

    Args:
        promise: what it is about.
        agreement: of all of it.
        classes: agreement promised on single classes.
        thresholds: the certified ones, by label; a label without one is never the student's.
        rungs: thresholds above them, ascending.
    """
    rules = Rules(
        promise=promise,
        alphas={OVERALL: 1.0 - agreement}
        | {name: 1.0 - one for name, one in (classes or {}).items()},
        thresholds=dict(thresholds or {}),
        rungs=tuple(rungs),
    )

    def reopen(evidence: str | None) -> Judge:
        if evidence is None:
            return PromiseJudge(PromiseLadder(rules))
        try:
            remembered = LadderEvidence.model_validate_json(evidence)
        except ValidationError as fault:
            raise BadSettings(
                "what audits have shown of a bundle cannot be read, so an alarm may be forgotten "
                f"({fault.errors()[0]['msg']}); restore the shared store, or distil a bundle on "
                "fresh labels"
            ) from None
        return PromiseJudge(PromiseLadder.resume(remembered))

    return reopen


def judge_of(manifest: Manifest) -> Reopen:
    """Return who judges a bundle, by its certificate.

    Raises:
        ValueError: it has none.
    """
    certificate = manifest.certificate
    if certificate is None:
        raise ValueError("a bundle without a certificate promises nothing that could be judged")
    return judged_by(
        certificate.promise,
        certificate.agreement,
        classes={one.label: one.agreement for one in certificate.per_class},
        thresholds=dict(zip(manifest.labels, certificate.thresholds, strict=True)),
        rungs=manifest.rungs,
    )


def voided(reason: str, figures: Mapping[str, Figure]) -> Callable[[Judge], None]:
    """Return what voids a certificate: everything escalates until another bundle has one."""

    def change(judge: Judge) -> None:
        assert isinstance(judge, PromiseJudge)
        judge.ladder.void, judge.ladder.void_figures = reason, dict(figures)

    return change


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
        self.hints: InputHints | None = None
        """What is watched without labels; None for a bundle that does not say what is usual."""
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
    def floor(self) -> float:
        """The same as a number: 0 as the certificate says, 1 where only the teacher answers."""
        return 1.0 if self.alarmed else self.threshold or 0.0

    @property
    def proved(self) -> float:
        """Evidence for the next lower rung as a share of what is needed; 1 where none waits."""
        if not self.figure("rung"):
            return 1.0
        return self.figure("proof") / self.figure("proved_at", 1.0)

    def figure(self, name: str, otherwise: float = 0.0) -> float:
        """Return a figure of the ruling, as the store has it."""
        found = self.ruling.verdict.figures.get(name)
        return otherwise if found is None else float(found)

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
