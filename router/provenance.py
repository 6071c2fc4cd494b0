"""Who answered: as header lines on every surface, as an object in native answers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from router.errors import Refusal
from router.policy import Route
from router.request import Answer
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


def provenance_fields(answer: Answer) -> bytes:
    """Return the `x-raisehand-*` and `server-timing` header lines of one answer."""
    # Members of a StrEnum are strings: encoding them directly skips a slow property.
    fields = _FIELDS % (
        answer.route.encode(),
        answer.reason.encode(),
        answer.model.bundle.encode(),
        cost_words(answer.usd),
        answer.queue_s * 1000.0,
        answer.forward_s * 1000.0,
    )
    if answer.teacher_s:
        fields = fields[:-2] + b", teacher;dur=%.3f\r\n" % (answer.teacher_s * 1000.0)
    if answer.confidence is not None:
        fields += b"x-raisehand-confidence: %.6f\r\n" % answer.confidence
    return fields


def provenance_fields_of_many(outcomes: Sequence[Answer | Refusal]) -> bytes:
    """Return the header lines of a list: the route if it is one, the sum of the costs."""
    answers = [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]
    refused = {Route.REFUSED.value} if len(answers) < len(outcomes) else set()
    routes = {answer.route.value for answer in answers} | refused
    reasons = {_reason(outcome) for outcome in outcomes}
    bundles = {answer.model.bundle for answer in answers}
    return _FIELDS % (
        routes.pop().encode() if len(routes) == 1 else b"mixed",
        reasons.pop().encode() if len(reasons) == 1 else b"mixed",
        ",".join(sorted(bundles)).encode(),
        cost_words(_sum([outcome.usd for outcome in outcomes])),
        max(answer.queue_s for answer in answers) * 1000.0,
        max(answer.forward_s for answer in answers) * 1000.0,
    )


def _reason(outcome: Answer | Refusal) -> str:
    if isinstance(outcome, Refusal):
        return outcome.reason or outcome.kind
    return outcome.reason.value


_FIELDS = (
    b"x-raisehand-route: %b\r\nx-raisehand-reason: %b\r\nx-raisehand-bundle: %b\r\n"
    b"x-raisehand-cost-usd: %b\r\nserver-timing: queue;dur=%.3f, forward;dur=%.3f\r\n"
)


def _sum(amounts: list[Decimal | None]) -> Decimal | None:
    known = [usd for usd in amounts if usd is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


@lru_cache(maxsize=1_024)
def cost_words(usd: Decimal | None) -> bytes:
    """Return a cost as a header says it."""
    return UNPRICED if usd is None else f"{usd:.12f}".encode()
