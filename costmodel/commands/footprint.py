"""`raisehand whatif footprint`: energy and carbon of a month, where somebody has estimated them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import FILE, JSON, SEEDS, Number
from costmodel.commands.questions import projected
from costmodel.commands.shown import show
from costmodel.errors import UnknownFootprint

if TYPE_CHECKING:
    from costmodel.money.footprint import Factors, Watts
    from costmodel.money.pricing import PriceSpec


def _idle_busy(ctx: click.Context, param: click.Parameter, value: str | None) -> Watts | None:
    """Read `IDLE:BUSY`."""
    if value is None:
        return None
    try:
        idle, busy = map(float, value.split(":"))
    except ValueError:
        idle, busy = 1.0, 0.0
    if not 0 <= idle <= busy < float("inf"):
        raise click.BadParameter(f"{value!r} is not IDLE:BUSY in watts, such as 50:400")
    return idle, busy


@click.command(epilog="Example: raisehand whatif footprint --task task.yaml --region eu-central-1")
@click.argument("scenario", required=False, type=FILE)
@click.option("--task", "task_path", type=FILE, help="Task file instead of a scenario.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change it first.")
@click.option("--region", help="Whose grid, e.g. eu-central-1.")
@click.option("--kg-per-kwh", type=Number(0), help="Of one's own grid or contract.")
@click.option("--watts", callback=_idle_busy, metavar="IDLE:BUSY", help="Of one student machine.")
@click.option(
    "--teacher-watts",
    callback=_idle_busy,
    metavar="IDLE:BUSY",
    help="Of one machine of a teacher of one's own.",
)
@click.option(
    "--teacher-wh-per-call",
    type=Number(0),
    help="Watt-hours of a call to a teacher by API, data centre included; suppliers do not say.",
)
@click.option("--pue", type=Number(1), help="Of one's own data centre.")
@SEEDS
@JSON
def footprint(
    scenario: Path | None, task_path: Path | None, settings: tuple[str, ...],
    region: str | None, kg_per_kwh: float | None, watts: Watts | None,
    teacher_watts: Watts | None, teacher_wh_per_call: float | None, pue: float | None,
    seeds: int, as_json: bool,
) -> None:  # fmt: skip
    """Estimate energy and carbon of a month: the cascade's beside the teacher's alone.

    Factors are Cloud Carbon Footprint's averages, dated and sourced in footprint.yaml. What nobody
    has estimated is said to be unknown, never taken for nothing.
    """
    from costmodel.bill.footprint import footprint as of_bill
    from costmodel.money.footprint import shipped_factors
    from costmodel.report.tables import PageTable

    if (scenario is None) == (task_path is None):
        raise click.UsageError("give either a SCENARIO file or --task task.yaml")
    if (region is None) == (kg_per_kwh is None):
        raise click.UsageError("give either --region or --kg-per-kwh")
    factors = shipped_factors()
    grid = factors.grid(region) if region is not None else kg_per_kwh
    assert grid is not None, "one of the two is given"
    found = projected(scenario, task_path, settings, None, seeds)
    alone: float | None = None
    asked: float | None = None
    month, centre = found.projection, factors.pue if pue is None else pue
    student = of_bill(month.student, _watts(factors, found.student, watts), centre, grid)
    if month.teacher_machines is not None and month.asked_machines is not None:
        power = _watts(factors, found.teacher, teacher_watts)
        alone, asked = (
            of_bill(bill, power, centre, grid).kwh
            for bill in (month.teacher_machines, month.asked_machines)
        )
    elif teacher_wh_per_call is not None:
        calls = month.requests_per_month
        share = month.escalation.mid + month.audit_rate * (1 - month.escalation.mid)
        alone = calls * teacher_wh_per_call / 1000
        asked = alone * share * month.attempts
    cascade = None if asked is None else student.kwh + asked
    figures = {
        "name": found.name,
        "region": region,
        "kg_per_kwh": grid,
        "pue": centre,
        "student": asdict(student),
        "teacher_asked_kwh": asked,
        "cascade_kwh": cascade,
        "teacher_alone_kwh": alone,
        "cascade_kg_co2e": None if cascade is None else cascade * grid,
        "teacher_alone_kg_co2e": None if alone is None else alone * grid,
        "factors_read": factors.read.isoformat(),
    }
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    rows = [
        ("student machines", student.kwh),
        ("teacher, escalations and audits", asked),
        ("cascade", cascade),
        ("teacher alone", alone),
    ]
    words = tuple(
        (name, *(("unknown", "unknown") if kwh is None else (f"{kwh:,.1f}", f"{kwh * grid:,.1f}")))
        for name, kwh in rows
    )
    where = region or "one's own grid"
    caption = f"{found.name}: a month, {where} at {grid:g} kg CO2e a kWh, PUE {centre:g}"
    show([PageTable(caption, ("", "kWh", "kg CO2e"), words)])
    if alone is None:
        click.echo(
            "The teacher is an API, and its supplier does not say what a call takes; give "
            "--teacher-wh-per-call to compare."
        )
    click.echo(
        f"Estimates: averages of Cloud Carbon Footprint, read {factors.read}; operation only, "
        "without the making of machines, memory, disks and networks."
    )


def _watts(factors: Factors, price: PriceSpec | None, given: Watts | None) -> Watts:
    """What one machine draws: as given, or as the named machine's hardware says.

    Raises:
        UnknownFootprint: neither is known.
    """
    from costmodel.money.machines import find_machine
    from costmodel.money.pricing import now

    if given is not None:
        return given
    if price is None or price.machine is None:
        raise UnknownFootprint(
            "the machine has no name, only a price; name it (machine: aws:c7i.large) or give "
            "--watts IDLE:BUSY, --teacher-watts IDLE:BUSY"
        )
    return factors.machine(find_machine(price.machine, now().date()).hardware)
