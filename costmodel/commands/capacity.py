"""`raisehand capacity`: the smallest fleet that keeps a p99 and a promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costmodel.engine.result import Result
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
@click.option("--prices", type=click.Path(path_type=Path), help="Prices of one's own.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def capacity(
    scenario: Path, p99_ms: float, agreement: float, most_degraded: float,
    changes: tuple[str, ...], prices: Path | None, seeds: int, workers: int, as_json: bool,
) -> None:  # fmt: skip
    """Find the fewest teacher units and student replicas that meet a goal in every seed.

    SCENARIO is a YAML file. Exit code 3: no fleet meets it, and why.
    """
    from rich.console import Console

    from costmodel.engine.run import simulate_many
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.scenario import load
    from costmodel.plan.capacity import Goal, smallest_fleet

    goal = Goal(p99_ms / 1000, agreement, most_degraded)
    told = load(scenario, parse_changes(changes), prices)
    with Console(stderr=True).status("Simulating fleets"):
        plan = smallest_fleet(told, goal, seeds=range(seeds), workers=workers)
        spared = simulate_many(plan.spare, range(seeds), workers=workers).results
    figures = _figures(plan, spared)
    click.echo(json.dumps(figures, indent=2) if as_json else _words(figures))


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
