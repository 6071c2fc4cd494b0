"""What a certified student is worth in dollars a request, and whether that is anything at all."""

from __future__ import annotations

from decimal import Decimal

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import TokenUsage, now
from students.certificate import LEAST_KEPT
from students.distill.run import Distilled
from students.task import Task


def kept_share(one: Distilled) -> float:
    """Share of the calibration rows that the student answers; 0 without a certificate."""
    certificate = one.bundle.manifest.certificate
    return certificate.coverage if certificate else 0.0


def usd_per_request(task: Task, one: Distilled) -> Decimal | None:
    """Student's seconds on its machine plus escalations at what the labels cost apiece.

    The machine's hour is the task's; the requests it carries are what this student was measured
    at on one core, so a student is never credited with more than one core of it. None where
    nothing is certified or priced.
    """
    manifest, section = one.bundle.manifest, task.student.price
    bill, profile = manifest.labelling, manifest.profile
    if one.refusal or bill is None or not bill.usd or profile is None:
        return None
    if section.requests_per_second is None:
        return None
    stated = price_of(section).cost(TokenUsage(), now()).usd
    hourly = stated * Decimal(section.requests_per_second)
    student = hourly / Decimal(profile.texts_per_s)
    return student + Decimal(1 - kept_share(one)) * bill.usd / bill.n


def saves_nothing(task: Task, one: Distilled) -> str | None:
    """Say why a certified student saves nothing; None where it does, or where none is certified.

    It keeps next to nothing of the calibration rows or of the test rows, or a request costs as much
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
    with_it, bill = usd_per_request(task, one), manifest.labelling
    if with_it is not None and bill is not None and with_it >= bill.usd / bill.n:
        return (
            f"This certificate saves nothing: 1,000 requests cost ${1000 * with_it:.4f} with the "
            f"student and ${1000 * bill.usd / bill.n:.4f} without it"
        )
    return None
