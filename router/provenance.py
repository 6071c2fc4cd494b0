"""Who answered: the same facts as headers on every surface and as an object in native answers."""

from __future__ import annotations

from decimal import Decimal

from router.edge import Headers
from router.pipeline import Answer
from router.policy import Route
from router.schemas import Provenance

UNPRICED = b"unpriced"


def provenance(answer: Answer) -> Provenance:
    """Return the `raisehand` object of a native answer."""
    return Provenance(
        route=answer.route.value,
        reason=answer.reason.value,
        bundle=answer.model.bundle,
        cost_usd=None if answer.usd is None else float(answer.usd),
        degraded=answer.route is Route.DEGRADED,
    )


def provenance_headers(answer: Answer) -> Headers:
    """Return the `x-raisehand-*` and `server-timing` headers of one answer."""
    # Members of a StrEnum are strings: encoding them directly skips a slow property.
    headers = [
        (b"x-raisehand-route", answer.route.encode()),
        (b"x-raisehand-reason", answer.reason.encode()),
        (b"x-raisehand-bundle", answer.model.bundle.encode()),
        (b"x-raisehand-cost-usd", _usd(answer.usd)),
        (b"server-timing", _timing(answer)),
    ]
    if answer.confidence is not None:
        headers.append((b"x-raisehand-confidence", b"%.6f" % answer.confidence))
    return headers


def provenance_headers_of_many(answers: list[Answer]) -> Headers:
    """Return the headers of a list: the route if it is one, the sum of the costs."""
    routes = {answer.route for answer in answers}
    reasons = {answer.reason for answer in answers}
    bundles = {answer.model.bundle for answer in answers}
    return [
        (b"x-raisehand-route", routes.pop().encode() if len(routes) == 1 else b"mixed"),
        (b"x-raisehand-reason", reasons.pop().encode() if len(reasons) == 1 else b"mixed"),
        (b"x-raisehand-bundle", ",".join(sorted(bundles)).encode()),
        (b"x-raisehand-cost-usd", _usd(_sum([answer.usd for answer in answers]))),
    ]


def _sum(amounts: list[Decimal | None]) -> Decimal | None:
    known = [usd for usd in amounts if usd is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def _usd(usd: Decimal | None) -> bytes:
    return UNPRICED if usd is None else f"{usd:.12f}".encode()


def _timing(answer: Answer) -> bytes:
    timing = b"queue;dur=%.3f, forward;dur=%.3f" % (
        answer.queue_s * 1000.0,
        answer.forward_s * 1000.0,
    )
    return (
        timing + b", teacher;dur=%.3f" % (answer.teacher_s * 1000.0) if answer.teacher_s else timing
    )
