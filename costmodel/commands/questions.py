"""`raisehand whatif compare | year | forecast`: the questions beside one month's bill."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import FILE, JSON, MARKDOWN, PRICES, SEED, SEEDS, WORKERS
from costmodel.commands.shown import ledger_of, show, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costmodel.bill.projection import Projection
    from costmodel.money.pricing import PriceSpec


@click.command(
    epilog="Example: raisehand whatif compare examples/scenarios/ten-million-a-day.yaml "
    "examples/scenarios/burst.yaml --html compared.html"
)
@click.argument("scenarios", nargs=-1, required=True, type=FILE)
@click.option("--teacher", "teachers", multiple=True, type=FILE, help="Sections to lay over each.")
@click.option("--student", "students", multiple=True, type=FILE, help="Likewise; N × N with both.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change all first.")
@PRICES
@SEED
@SEEDS
@WORKERS
@click.option("--html", type=FILE, help="Also write a page with a plot.")
@click.option("--csv", "csv_path", type=FILE, help="Also write one row of figures per answer.")
@click.option("--xlsx", "xlsx_path", type=FILE, help="Also write a workbook with formulas.")
@MARKDOWN
@JSON
def compare(
    scenarios: tuple[Path, ...], teachers: tuple[Path, ...], students: tuple[Path, ...],
    settings: tuple[str, ...], prices: Path | None, seed: int, seeds: int, workers: int,
    html: Path | None, csv_path: Path | None, xlsx_path: Path | None, as_markdown: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Answer several scenarios side by side: which nothing beats, what moved, where they cross.

    Each SCENARIO has its own quality, prompt and latency; --teacher and --student files hold
    sections (teacher:, student:, quality:, policy:) that are laid over each of them.
    """
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.scenario import load
    from costmodel.plan.compare import crossed, crossings, efficient, moved_lines
    from costmodel.plan.spread import records
    from costmodel.plan.study import studies
    from costmodel.report.export import csv_of, write_bills
    from costmodel.report.questions import compare_page, compare_tables

    bases = [load(path, parse_changes(settings), prices) for path in scenarios]
    asked = crossed(bases, teachers, students)
    if len(asked) < 2:
        raise click.UsageError("one scenario alone is compared with nothing; give two or more")
    found = studies(asked, seed=seed, seeds=seeds, workers=workers)
    write(html, lambda: compare_page(found).html())
    write(csv_path, lambda: csv_of(records(found)))
    if xlsx_path is not None:
        write_bills(xlsx_path, {one.scenario.name: one.bill.rails for one in found})
    if as_json:
        best = efficient(found)
        shown = {
            "scenarios": [
                {**row, "nothing_beats_it": good}
                for row, good in zip(records(found), best, strict=True)
            ],
            "crossings": [asdict(one) for one in crossings(found)],
            "moved": {
                other.scenario.name: [asdict(one) for one in moved_lines(found[0], other)]
                for other in found[1:]
            },
        }
        click.echo(json.dumps(shown, indent=1))
    else:
        show(compare_tables(found), as_markdown=as_markdown)
    raise SystemExit(min(one.verdict.exit_code for one in found))


@click.command(epilog="Example: raisehand whatif year --task task.yaml --growth 0.05")
@click.argument("scenario", required=False, type=FILE)
@click.option("--task", "task_path", type=FILE, help="Task file instead of a scenario.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change it first.")
@PRICES
@click.option("--months", default=12, show_default=True)
@click.option("--growth", type=float, help="Of traffic a month; default the scenario's, or 0.")
@click.option("--teacher-price", default=0.0, help="Change of the teacher's price a month: -0.02.")
@click.option("--student-price", default=0.0, help="Likewise of the student's machines.")
@click.option("--discount", default=0.0, help="What money costs a year, for the present value.")
@SEEDS
@click.option("--html", type=FILE, help="Also write a page with a plot.")
@click.option("--csv", "csv_path", type=FILE, help="Also write one row per month.")
@MARKDOWN
@JSON
def year(
    scenario: Path | None, task_path: Path | None, settings: tuple[str, ...],
    prices: Path | None, months: int, growth: float | None, teacher_price: float,
    student_price: float, discount: float, seeds: int, html: Path | None, csv_path: Path | None,
    as_markdown: bool, as_json: bool,
) -> None:  # fmt: skip
    """Project the months ahead: growth, prices that move, what is paid once, cumulative cash."""
    from costmodel.plan.year import Course, earned_back
    from costmodel.plan.year import year as course_of
    from costmodel.report.export import csv_of
    from costmodel.report.questions import year_page, year_table
    from costmodel.report.tables import usd

    if (scenario is None) == (task_path is None):
        raise click.UsageError("give either a SCENARIO file or --task task.yaml")
    asked = projected(scenario, task_path, settings, prices, seeds)
    name, projection = asked.name, asked.projection
    course = Course(
        asked.growth if growth is None else growth, teacher_price, student_price, months, discount
    )
    found = course_of(projection, course)
    back = earned_back(found)
    when = f"in month {back}" if back else f"not within {months} months"
    once = usd(projection.break_even.one_off_usd)
    sentence = (
        f"{usd(found[-1].cash)} after {months} months against asking only the teacher; the {once} "
        f"paid once is earned back {when}."
    )
    write(html, lambda: year_page(name, found, sentence).html())
    rows: list[dict[str, float | str | bool | None]] = [
        {**asdict(one), "saving": one.saving} for one in found
    ]
    write(csv_path, lambda: csv_of(rows))
    if as_json:
        shown = {"name": name, "earned_back_in_month": back, "sentence": sentence, "months": rows}
        click.echo(json.dumps(shown, indent=1))
        return
    show([year_table(found)], as_markdown=as_markdown)
    click.echo(sentence)


@dataclass(frozen=True, slots=True)
class ProjectedMonth:
    """A month as projected, and what its file says of growth and of prices."""

    name: str
    projection: Projection
    growth: float
    """Of traffic, a month."""
    student: PriceSpec | None
    teacher: PriceSpec | None


def projected(
    scenario: Path | None,
    task_path: Path | None,
    settings: Sequence[str],
    prices: Path | None,
    seeds: int,
) -> ProjectedMonth:
    """Project the month of a scenario or of a task."""
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.scenario import load
    from costmodel.inputs.taskfile import read_deployment
    from costmodel.money.pricelist import read_prices
    from costmodel.plan.study import study
    from costmodel.whatif import project_deployment

    changes = parse_changes(settings)
    if scenario is not None:
        told = load(scenario, changes, prices)
        found = study(told, seeds=seeds)
        return ProjectedMonth(
            told.name,
            found.projection,
            told.workload.growth_per_month,
            told.student.price,
            told.teacher.price,
        )
    assert task_path is not None
    deployment = read_deployment(task_path, changes=changes)
    if prices is not None:
        deployment = deployment.model_copy(update={"prices": read_prices(prices)})
    month = project_deployment(deployment)
    return ProjectedMonth(
        deployment.name, month, 0.0, deployment.student.price, deployment.teacher.price
    )


@click.command(
    epilog="Example: raisehand whatif forecast --task task.yaml "
    "--from-ledger .raisehand/ledger.sqlite"
)
@click.option("--task", "task_path", type=FILE, required=True, help="The task that was projected.")
@click.option("--bundle", help="Id of the bundle whose evaluation counts; default the latest.")
@click.option(
    "--from-ledger",
    "ledger_path",
    type=ledger_of,
    required=True,
    metavar="FILE|postgresql://…",
    help="What was paid.",
)
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="As it was then.")
@MARKDOWN
@JSON
def forecast(
    task_path: Path, bundle: str | None, ledger_path: Path | str, settings: tuple[str, ...],
    as_markdown: bool, as_json: bool,
) -> None:  # fmt: skip
    """Hold what was projected against what the ledger says was paid, line by line."""
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.ledger.traffic import read_traffic
    from costmodel.inputs.taskfile import read_deployment
    from costmodel.plan.forecast import against_ledger, read_actual
    from costmodel.report.questions import forecast_table
    from costmodel.whatif import project_deployment

    deployment = read_deployment(task_path, bundle, parse_changes(settings))
    name = deployment.name
    log, paid = read_traffic(ledger_path, name), read_actual(ledger_path, name)
    rows = against_ledger(project_deployment(deployment), log, paid)
    if as_json:
        found = {"unpriced_calls": paid.unpriced, "hours": log.seconds / 3600,
                 "rows": [{**asdict(one), "off": one.off} for one in rows]}  # fmt: skip
        click.echo(json.dumps(found, indent=1))
        return
    show([forecast_table(rows)], as_markdown=as_markdown)
    if paid.unpriced:
        click.echo(f"{paid.unpriced:,} calls have no price in the ledger: they are in no sum.")
