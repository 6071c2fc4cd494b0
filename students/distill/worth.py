"""What a certified student is worth in dollars a month, and whether that is anything at all."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from costmodel.bill.baselines import UsdBand
from costmodel.bill.machines import Fleet, TeacherFleet, rented
from costmodel.bill.month import Month, OwnTeacher, Unit
from costmodel.inputs.assumptions import Operation
from costmodel.intervals import binomial_interval
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import MachinePrice, now
from students.certificate import LEAST_KEPT
from students.distill.run import Distilled
from students.errors import BadTask
from students.task import Task

MOST_TEXTS_PER_S = 1e9
"""No student is faster: a machine that carries this much is never the one that is missing."""


def kept_share(one: Distilled) -> float:
    """Share of the calibration rows that the student answers; 0 without a certificate."""
    certificate = one.bundle.manifest.certificate
    return certificate.coverage if certificate else 0.0


def month_of(task: Task, one: Distilled) -> Month | None:
    """Return the cascade's month at the task's traffic, by its share of escalations.

    Student machines, escalations and audits. The machine is the task's; what it carries is what
    this student was measured at on one core, so that it is never credited with more than one core.
    None where nothing is certified or priced.
    """
    profile = one.bundle.manifest.profile
    if one.refusal or profile is None:
        return None
    return _month(task, one, profile.texts_per_s)


def bill_of(task: Task, one: Distilled) -> UsdBand | None:
    """Return US dollars a month; the band is the exact 95 % interval of the escalations.

    They are counted on the calibration rows. None where nothing is certified or priced.
    """
    month, certificate = month_of(task, one), one.bundle.manifest.certificate
    if month is None or certificate is None:
        return None
    n = certificate.n_calibration
    low, high = binomial_interval(n - certificate.n_accepted, n)
    return UsdBand(
        low=month.usd(low), mid=month.usd(1 - certificate.coverage), high=month.usd(high)
    )


def least_usd(task: Task, one: Distilled, texts_per_s: float | None, escalated: float) -> Decimal:
    """Return the least that a month could cost with another student on the same labels.

    Args:
        task: traffic, prices and audits.
        one: a student with a bill.
        texts_per_s: how fast the other is on one core; None takes it for as fast as needed.
        escalated: the share that it escalates at least.
    """
    month = _month(task, one, float("inf") if texts_per_s is None else texts_per_s)
    if month is None:
        raise BadTask("a month of another student can only be told where this one's has a price")
    return month.usd(escalated)


def _month(task: Task, one: Distilled, texts_per_s: float) -> Month | None:
    bill, start = one.bundle.manifest.labelling, now()
    machine = price_of(task.student.price, at=start)
    if bill is None or not bill.usd or not isinstance(machine, MachinePrice):
        return None
    requests = Decimal(repr(task.traffic.requests_per_month))
    fleet = Fleet(task.student.min_machines)
    carried = Decimal(repr(min(texts_per_s, MOST_TEXTS_PER_S)))
    asked = bill.usd / bill.n
    teacher = price_of(task.teacher.price, at=start)
    own = Fleet(task.teacher.min_machines)
    return Month(
        requests,
        Unit(asked, asked, asked),
        rented("student", replace(machine, requests_per_second=carried), requests, fleet),
        Operation(audit_rate=task.audit_rate),
        OwnTeacher(teacher, TeacherFleet(own, own), 1.0)
        if isinstance(teacher, MachinePrice)
        else None,
    )


def saves_nothing(task: Task, one: Distilled) -> str | None:
    """Say why a certified student saves nothing; None where it does, or where none is certified.

    It keeps next to nothing of the calibration rows or of the test rows, or a month costs as much
    with it as without.
    """
    manifest = one.bundle.manifest
    if manifest.certificate is None or manifest.evaluation is None:
        return None
    escalated = manifest.evaluation.escalation.rate
    kept = min(kept_share(one), 1 - escalated)
    if kept < LEAST_KEPT:
        return (
            f"This certificate saves nothing: the student keeps {kept_share(one):.1%} of the "
            f"calibration rows and {1 - escalated:.1%} of the test rows, all else is asked of the "
            "teacher"
        )
    month, with_it = month_of(task, one), bill_of(task, one)
    if month is not None and with_it is not None and with_it.mid >= month.teacher_usd:
        return (
            f"This certificate saves nothing: a month of {month.requests:,.0f} requests costs "
            f"${with_it.mid:,.2f} with the student, machines and audits included, and "
            f"${month.teacher_usd:,.2f} without it"
        )
    return None
