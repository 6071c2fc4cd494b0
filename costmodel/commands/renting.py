"""`raisehand whatif machines`: machines that follow load, or that are taken away."""

from __future__ import annotations

import json
from pathlib import Path

import click

from costmodel.commands.options import FILE, JSON, MARKDOWN, PRICES, SEED, SEEDS, WORKERS, Number
from costmodel.commands.shown import show, write


@click.command(
    epilog="Example: raisehand whatif machines examples/scenarios/burst.yaml --cold-start 60 "
    "--cold-start 300 --hours-between 6 --spot-price 0.4"
)
@click.argument("scenario", type=FILE)
@click.option(
    "--cold-start",
    "cold_starts",
    multiple=True,
    type=Number(min=0),
    help="A hosted teacher that follows load: seconds until a new engine answers; repeat.",
)
@click.option(
    "--hours-between",
    "hours",
    multiple=True,
    type=Number(min=0, min_open=True),
    help="Machines that are taken away: mean hours until one is; repeat it.",
)
@click.option(
    "--back-after-s",
    default=180.0,
    show_default=True,
    type=Number(min=0, min_open=True),
    help="Until it, or the next, answers.",
)
@click.option(
    "--spot-price",
    default=1.0,
    show_default=True,
    type=Number(min=0),
    help="Price of a machine that may be taken away, as a part of the ordinary one.",
)
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change it first.")
@PRICES
@SEED
@SEEDS
@WORKERS
@click.option("--html", type=FILE, help="Also write a page.")
@click.option("--csv", "csv_path", type=FILE, help="Also write one row of figures per answer.")
@MARKDOWN
@JSON
def machines(
    scenario: Path, cold_starts: tuple[float, ...], hours: tuple[float, ...], back_after_s: float,
    spot_price: float, settings: tuple[str, ...], prices: Path | None, seed: int, seeds: int,
    workers: int, html: Path | None, csv_path: Path | None, as_markdown: bool, as_json: bool,
) -> None:  # fmt: skip
    """Rent the machines of a SCENARIO in other ways, each simulated beside what the file says.

    Engines that follow load take a cold start to be there; machines that are taken away (spot)
    lose what they compute. Dollars, p99 and what stays unanswered, side by side.
    """
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.scenario import load
    from costmodel.plan.renting import ways
    from costmodel.plan.spread import records
    from costmodel.plan.study import studies
    from costmodel.report.export import csv_of
    from costmodel.report.renting import renting_page, renting_table

    if not cold_starts and not hours:
        raise click.UsageError(
            "say in which other way: --cold-start SECONDS, --hours-between HOURS"
        )
    base = load(scenario, parse_changes(settings), prices)
    asked = ways(
        base, cold_starts_s=cold_starts, hours_between=hours, back_after_s=back_after_s,
        spot_price=spot_price,
    )  # fmt: skip
    found = studies(asked, seed=seed, seeds=seeds, workers=workers)
    write(html, lambda: renting_page(found).html())
    write(csv_path, lambda: csv_of(records(found)))
    if as_json:
        rows = [
            {
                **row,
                "student_machines": one.mean(lambda run: run.student_paid_s / run.seconds),
                "teacher_machines": one.mean(lambda run: run.teacher_paid_s / run.seconds),
            }
            for row, one in zip(records(found), found, strict=True)
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    show([renting_table(found)], as_markdown=as_markdown)
