"""Ways of renting the same system's machines: kept, following load, taken away at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from costmodel.bill.simulated import prices_of
from costmodel.errors import BadScenario
from costmodel.inputs.fleet import Autoscaling
from costmodel.inputs.scenario import Scenario, vary
from costmodel.money.pricing import MachinePrice

ROOM = 4
"""A teacher that follows load may have so many times the replicas that the file keeps."""


def ways(
    base: Scenario,
    *,
    cold_starts_s: Sequence[float] = (),
    hours_between: Sequence[float] = (),
    back_after_s: float = 180.0,
    spot_price: float = 1.0,
) -> list[Scenario]:
    """The scenario as it is, with a teacher that follows load, and on machines that are taken away.

    Args:
        base: as the file has it.
        cold_starts_s: seconds from the decision to an engine that answers; one way for each.
        hours_between: mean hours of one machine until it is taken away; one way for each.
        back_after_s: seconds until it is back.
        spot_price: of such a machine, as a part of its ordinary price.

    Raises:
        BadScenario: a teacher behind an API has no machines that could follow load.
    """
    found = [base]
    if cold_starts_s:
        found += [_following(base, seconds) for seconds in cold_starts_s]
    found += [_taken(base, hours, back_after_s, spot_price) for hours in hours_between]
    return found


def _following(base: Scenario, cold_start_s: float) -> Scenario:
    teacher = base.teacher
    if teacher.kind != "hosted":
        raise BadScenario(
            f"{base.name}: --cold-start is of engines of one's own, and the teacher is an API; "
            "give --set teacher.kind=hosted with its steps"
        )
    rules = teacher.autoscaling or Autoscaling(
        max_replicas=max(teacher.replicas, 1) * ROOM, target_utilisation=0.25
    )
    slots = max(teacher.max_concurrency, rules.max_replicas * teacher.max_running)
    return vary(
        base,
        {
            "name": f"{base.name} [teacher follows load, cold start {cold_start_s:g} s]",
            "teacher.autoscaling": rules.model_copy(update={"start_delay_s": cold_start_s}),
            "teacher.max_concurrency": slots,
        },
    )


def _taken(base: Scenario, hours: float, back_after_s: float, spot_price: float) -> Scenario:
    often = {"hours_between": hours, "back_after_s": back_after_s}
    changes: dict[str, object] = {
        "name": f"{base.name} [taken away every {hours:g} h, back after {back_after_s:g} s]",
        "student.interruptions": often,
        **_cheaper("student", base, spot_price),
    }
    if base.teacher.kind == "hosted":
        changes |= {"teacher.interruptions": often, **_cheaper("teacher", base, spot_price)}
    return vary(base, changes)


def _cheaper(who: str, base: Scenario, part: float) -> dict[str, object]:
    """The machine's price times a part of it."""
    price = getattr(prices_of(base), who)
    if part == 1.0 or not isinstance(price, MachinePrice):
        return {}
    hourly = price.usd_per_hour * Decimal(repr(part))
    stated = getattr(base, who).price.requests_per_second
    return {f"{who}.price": {"usd_per_hour": hourly, "requests_per_second": stated}}
