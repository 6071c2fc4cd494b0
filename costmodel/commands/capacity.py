"""`raisehand capacity`: the smallest fleet that keeps a p99 and a promise."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON, PRICES, SEEDS, WORKERS, Number
from costmodel.commands.shown import show, write
from costmodel.errors import BadScenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costmodel.engine.result import Result
    from costmodel.inputs.fleet import Interruptions
    from costmodel.inputs.scenario import Scenario
    from costmodel.plan.availability import Spares
    from costmodel.plan.capacity import Plan


@click.command(
    epilog="Example: raisehand capacity examples/scenarios/burst.yaml --p99-ms 800 "
    "--set workload.per_day=2e7"
)
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--p99-ms", type=float, required=True, help="99 % of all arrivals answered in it.")
@click.option("--agreement", default=0.0, help="Least share of answers equal to the teacher's.")
@click.option("--most-degraded", default=0.01, show_default=True, help="Share of unsure answers.")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change the scenario.")
@PRICES
@SEEDS
@WORKERS
@click.option(
    "--availability",
    type=Number(0, 1, max_open=True),
    help="Also N+k: share "
    "of arrivals answered as meant, e.g. 0.999, while machines go and are back.",
)
@click.option(
    "--hours-between",
    type=Number(min=0, min_open=True),
    help="Mean hours until one machine goes; default: the file's interruptions.",
)
@click.option(
    "--back-after-s", default=180.0, show_default=True, type=Number(min=0, min_open=True),
    help="Until it is back.",
)  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page.")
@JSON
def capacity(
    scenario: Path, p99_ms: float, agreement: float, most_degraded: float,
    changes: tuple[str, ...], prices: Path | None, seeds: int, workers: int,
    availability: float | None, hours_between: float | None, back_after_s: float,
    html: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Find the fewest teacher units and student replicas that meet a goal in every seed.

    SCENARIO is a YAML file. With --availability also how many spare machines keep it while
    machines fail or are taken away: each number of them that may be there is simulated. Exit
    code 3: no fleet meets it, and why.
    """
    from rich.console import Console

    from costmodel.engine.run import simulate_many
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.scenario import load
    from costmodel.plan.availability import SpareSearch
    from costmodel.plan.capacity import Goal, smallest_fleet
    from costmodel.report.renting import capacity_page, spares_table

    if availability is not None:
        # Half of what may go wrong is left to machines that are away.
        most_degraded = min(most_degraded, (1 - availability) / 2)
    goal = Goal(p99_ms / 1000, agreement, most_degraded)
    told = load(scenario, parse_changes(changes), prices)
    often = None if availability is None else _often(told, hours_between, back_after_s)
    spares: list[Spares] = []
    with Console(stderr=True).status("Simulating fleets"):
        plan = smallest_fleet(told, goal, seeds=range(seeds), workers=workers)
        spared = simulate_many(plan.spare, range(seeds), workers=workers).results
        if often is not None:
            assert availability is not None
            spares = SpareSearch(plan, goal, often, availability, range(seeds), workers).find()
    figures = _figures(plan, spared) | {"spares": [asdict(one) for one in spares]}
    write(html, lambda: capacity_page(_words(figures), spares).html())
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo(_words(figures))
    if spares:
        show([spares_table(spares)])


def _often(told: Scenario, hours: float | None, back_after_s: float) -> Interruptions:
    """How often a machine goes: as asked for, or as the file says.

    Raises:
        BadScenario: nobody said it.
    """
    from costmodel.inputs.fleet import Interruptions

    stated = told.student.interruptions
    if hours is None and stated is not None:
        return stated
    if hours is None or not hours > 0 or not back_after_s > 0:
        raise BadScenario(
            "an availability depends on how often machines go; give --hours-between (above 0), "
            "e.g. 720 for once a month, and --back-after-s, or student.interruptions in the file"
        )
    return Interruptions(hours_between=hours, back_after_s=back_after_s)


def _figures(plan: Plan, spared: Sequence[Result]) -> dict[str, Any]:
    from costmodel.plan.capacity import fleet_usd

    runs = plan.runs
    return {
        "scenario": plan.scenario.name,
        "student_replicas": plan.replicas,
        "teacher_units": plan.teacher_units,
        "teacher_unit": "call at once" if plan.scenario.teacher.kind == "api" else "replica",
        "p99_ms": max(run.routes["all"].p99_s for run in runs) * 1000,
        "agreement": min(run.agreement for run in runs),
        "escalation_rate": max(run.escalation_rate for run in runs),
        "student_utilisation": max(run.student_utilisation for run in runs),
        "teacher_utilisation": max(run.teacher_utilisation for run in runs),
        "seeds": len(runs),
        "usd_per_month": plan.usd_per_month,
        "usd_per_month_with_spare": fleet_usd(spared),
    }


def _words(figures: dict[str, Any]) -> str:
    paid = "no price is given: no dollars"
    if figures["usd_per_month"] is not None:
        alone, spare = figures["usd_per_month"], figures["usd_per_month_with_spare"]
        paid = f"cascade ${alone:,.0f} a month; with one spare machine of each (N+1) ${spare:,.0f}"
    return (
        "{scenario}: {student_replicas} student replicas, {teacher_units} x one teacher "
        "{teacher_unit}\n"
        "p99 {p99_ms:.1f} ms, agreement {agreement:.4f}, escalation {escalation_rate:.2%}, student "
        "{student_utilisation:.1%} busy, teacher {teacher_utilisation:.1%} busy (the worst of "
        "{seeds} seeds); one fewer of either misses the goal\n"
    ).format(**figures) + paid
