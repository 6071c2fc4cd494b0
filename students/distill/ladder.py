"""`student: auto`: climb from the cheapest student to the dearest, prove each, keep the best buy.

The best buy is the certified student with the least bill of a month at the task's traffic: its
machines, its escalations and its audits, as the calibration rows show them; the test rows stay
untouched by the choice. It stops where the next student cannot pay: where a month without a single
escalation would cost as much with it as what is at hand. Each rung is another look at the
calibration rows and spends its share of delta, the cheapest rung first, so that all certificates
hold together and any of them may be chosen.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from costmodel.bill.baselines import UsdBand
from students.distill.export import exported
from students.distill.run import Distilled, Parts, Report, distill
from students.distill.worth import bill_of, kept_share, least_usd
from students.errors import BadTask
from students.runtime.bundle import LabellingBill, name_latest
from students.sections import StudentSection
from students.task import Task
from students.teachers.protocol import TeacherDescriptor

RUNGS = ("linear", "frozen", "blend", "encoder")


@dataclass(frozen=True)
class Rung:
    """One student and what a month costs with it; None where nothing is certified or priced."""

    name: str
    distilled: Distilled
    bill: UsdBand | None


@dataclass(frozen=True)
class Ladder:
    """All rungs from the cheapest student to the dearest, and the chosen one.

    `stopped` says why the next rung was not climbed; None where there was none.
    """

    rungs: tuple[Rung, ...]
    chosen: Distilled
    stopped: str | None = None


def climb(
    task: Task,
    part: Parts,
    *,
    teacher: TeacherDescriptor,
    labelling: LabellingBill | None = None,
    report: Report = lambda stage, done, total: None,
) -> Ladder:
    """Distil the family of the task; for `auto`: `RUNGS`, and the int8 export of the best of them.

    The int8 rung is left out where its runtime is not installed or could save no machine.

    Raises:
        BadTask: there is no encoder to climb to.
    """

    def one(family: str) -> Rung:
        student = StudentSection.model_validate(task.student.model_dump() | {"family": family})
        done = distill(
            task.model_copy(update={"student": student}), part,
            teacher=teacher, labelling=labelling,
            report=lambda stage, n, of: report(f"{family}: {stage}", n, of),
        )  # fmt: skip
        return Rung(family, done, bill_of(task, done))

    if task.student.family != "auto":
        only = distill(task, part, teacher=teacher, labelling=labelling, report=report)
        return Ladder((Rung(task.student.family, only, bill_of(task, only)),), only)
    if task.student.encoder_path is None:
        raise BadTask(
            "student.family is auto but student.encoder_path is missing; name a local Hugging Face "
            "folder, or use family linear, which needs none"
        )
    rungs: tuple[Rung, ...] = ()
    stopped = None
    for family in RUNGS:
        stopped = _cannot_pay(task, rungs, family)
        if stopped:
            break
        rungs = (*rungs, one(family))
    best = choose(rungs)
    if _int8_may_pay(task, best):
        done = exported(
            task, best.distilled.bundle, part, "int8", lambda s, n, of: report(f"int8: {s}", n, of)
        )
        rungs = (*rungs, Rung(f"{best.name} in int8", done, bill_of(task, done)))
        best = choose(rungs)
    bundle = best.distilled.bundle
    name_latest(bundle.path.parent, bundle.id)
    return Ladder(rungs, best.distilled, stopped)


def choose(rungs: tuple[Rung, ...]) -> Rung:
    """The certified rung of the least bill; where none is certified, the one that came closest.

    Without a price of the teacher, the certified rung that keeps most.
    """
    certified = [rung for rung in rungs if rung.distilled.refusal is None]
    if not certified:
        return max(rungs, key=lambda rung: _best_agreement(rung.distilled))
    priced = [(rung.bill.mid, n) for n, rung in enumerate(certified) if rung.bill is not None]
    if len(priced) == len(certified):
        return certified[min(priced)[1]]
    return max(certified, key=lambda rung: kept_share(rung.distilled))


def _cannot_pay(task: Task, rungs: tuple[Rung, ...], family: str) -> str | None:
    """Say why the next rung is not worth climbing to, None where it may be.

    The encoder's speed is known from the first rung that has one.
    """
    best = choose(rungs) if rungs else None
    if best is None or best.bill is None:
        return None
    profile = rungs[-1].distilled.bundle.manifest.profile if len(rungs) > 1 else None
    least = least_usd(task, best.distilled, profile.texts_per_s if profile else None, 0.0)
    if least < best.bill.mid:
        return None
    return (
        f"{family} was not tried: a month would cost ${least:,.2f} with it if it escalated "
        f"nothing, and costs ${best.bill.mid:,.2f} with {best.name}"
    )


def _int8_may_pay(task: Task, best: Rung) -> bool:
    """Whether a faster runtime, escalating the same, could do with fewer machines."""
    if not (importlib.util.find_spec("openvino") and importlib.util.find_spec("nncf")):
        return False
    if best.bill is None or best.name == "linear":
        return False
    escalated = 1 - kept_share(best.distilled)
    return least_usd(task, best.distilled, None, escalated) < best.bill.mid


def _best_agreement(one: Distilled) -> float:
    return one.refusal.best_agreement if one.refusal else 1.0
