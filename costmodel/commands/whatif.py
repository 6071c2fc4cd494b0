"""`raisehand whatif`: what a month costs, and what it would cost if."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from costmodel.commands.footprint import footprint
from costmodel.commands.options import FILE, JSON, MARKDOWN, PRICES, SEED, SEEDS, WORKERS, Number
from costmodel.commands.questions import compare, forecast, year
from costmodel.commands.renting import machines
from costmodel.commands.shown import ledger_of, show, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from costmodel.bill.rails import Rail
    from costmodel.bill.verdict import Verdict
    from costmodel.inputs.deployment import Deployment
    from costmodel.plan.study import Study
    from costmodel.report.tables import PageTable

_COLOURS = {"good": "green", "plain": None, "bad": "red"}


class Questions(click.Group):
    """A month's bill unless the first word is one of the other questions."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the month where no other question is named."""
        asked = args[0] if args else ""
        return super().parse_args(ctx, args if asked in self.commands else ["month", *args])


@click.command(
    epilog="Other questions: raisehand whatif compare | year | forecast | footprint | machines, "
    "each with --help. "
    "Examples: raisehand whatif --task task.yaml --set traffic.requests_per_day=1e6 · "
    "raisehand whatif examples/scenarios/ten-million-a-day.yaml --sweep student.replicas=2,4",
)
@click.argument("scenarios", metavar="[SCENARIO]", nargs=-1, type=FILE)
@click.option("--task", "task_path", type=FILE, help="Task file: project its latest bundle.")
@click.option("--bundle", help="Id of the bundle whose evaluation counts; default the latest.")
@click.option(
    "--from-ledger",
    "ledger_path",
    type=ledger_of,
    metavar="FILE|postgresql://…",
    help="With --task: traffic, escalation and tokens from the router's own ledger.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field first, e.g. policy.audit_rate=0. May be repeated.",
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="FIELD=A,B,…",
    help="Answer every combination of the values. May be repeated.",
)
@click.option("--threshold", type=Number(0, 1), help="With --task: as if this were the threshold.")
@PRICES
@SEED
@SEEDS
@WORKERS
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="A scenario: where its runs are played: here, or on the Ray cluster of RAY_ADDRESS.",
)
@click.option("--html", type=FILE, help="Also write a page for a browser.")
@click.option("--csv", "csv_path", type=FILE, help="Also write one row of figures per answer.")
@click.option("--xlsx", "xlsx_path", type=FILE, help="Also write the bill with formulas.")
@click.option("--focus", "focus_path", type=FILE, help="Also write the bill as FOCUS columns, CSV.")
@click.option("--figures", type=FILE, help="A scenario: also write its plots as SVG files here.")
@MARKDOWN
@JSON
@click.option("--serve", is_flag=True, help="With --task: open a page with sliders, on loopback.")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535))
def month(scenarios: tuple[Path, ...], task_path: Path | None, **options: Any) -> None:
    """Project a month's bill on every rail, the savings with their band, and break-even.

    With --task, counts come from the bundle's evaluation and prices from the task file: closed
    form, at once. With a SCENARIO file every request is simulated: queues, limits, bursts, hours.

    Exit code 0: it answers and breaks no promise, whether it pays or not. 3: it does not answer
    within the limits, or breaks its promise (of a sweep: every place does). 2: a bad input.
    """
    if len(scenarios) > 1:
        raise click.UsageError("several files stand side by side with `raisehand whatif compare`")
    if bool(scenarios) == (task_path is not None):
        raise click.UsageError("give either a SCENARIO file or --task task.yaml")
    if scenarios:
        for name, option in (("bundle", "--bundle"), ("ledger_path", "--from-ledger"),
                             ("threshold", "--threshold"), ("serve", "--serve")):  # fmt: skip
            if _is_given(name):
                raise click.UsageError(f"{option} belongs to --task, not to a scenario file")
        if options["engine"] == "ray" and _is_given("workers"):
            raise click.UsageError("--workers is of --engine local; a cluster has its own CPUs")
        _scenario(scenarios[0], options)
    else:
        assert task_path is not None
        for name in ("figures", "engine"):
            if _is_given(name):
                raise click.UsageError(f"--{name} needs a scenario file")
        _task(task_path, options)


def _is_given(name: str) -> bool:
    """Whether the user gave this option, whatever its value: 0 is a value."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT


def _task(path: Path, options: dict[str, Any]) -> None:
    from costmodel.bill.feasibility import feasible_deployment
    from costmodel.money.pricing import now
    from costmodel.report.export import csv_of
    from costmodel.report.money import money_page, money_tables
    from costmodel.report.paid import paid_json
    from costmodel.report.tasks import place_records, places
    from costmodel.uncertainty.draws import quantify
    from costmodel.whatif import project_deployment, verdict

    deployment = _deployment(path, options)
    if options["serve"]:
        from costmodel.web.server import serve

        serve(deployment, port=options["port"], seed=options["seed"])
        return
    if options["sweeps"]:
        _task_sweep(deployment, options)
        return
    projection = project_deployment(deployment)
    uncertain = quantify(projection, deployment.doubt, seed=options["seed"])
    found = verdict(deployment, projection)
    if options["csv_path"]:
        write(options["csv_path"], lambda: csv_of(place_records(places(deployment, {}))))
    if options["html"]:
        page = money_page(deployment, projection, uncertain)
        write(options["html"], page.html)
    _export(deployment.name, projection.rails, now(), options)
    if options["as_json"]:
        shown = {
            "task": deployment.name,
            "bundle": deployment.bundle,
            "verdict": found.sentence,
            **found.flags,
            "feasibility": feasible_deployment(deployment, projection).model_dump(mode="json"),
            "deployment": deployment.model_dump(mode="json"),
            "projection": projection.model_dump(mode="json"),
            "as_paid": paid_json(projection.rails, deployment.prices),
            "uncertain": uncertain.model_dump(mode="json"),
        }
        click.echo(json.dumps(shown, indent=1, allow_nan=False))
    else:
        tables = money_tables(deployment, projection, uncertain)
        _print(tables, found, projection.warnings, as_markdown=options["as_markdown"])
    _exit([found])


def _task_sweep(base: Deployment, options: dict[str, Any]) -> None:
    from costmodel.inputs.changes import parse_axes
    from costmodel.report.export import csv_of
    from costmodel.report.tasks import place_records, places, places_table

    if options["html"]:
        raise click.UsageError("--html of a task shows one answer; give --sweep or --html")
    found = places(base, parse_axes(options["sweeps"]))
    if options["csv_path"]:
        write(options["csv_path"], lambda: csv_of(place_records(found)))
    if options["as_json"]:
        click.echo(json.dumps(place_records(found), indent=1))
    else:
        first = found[0]
        warnings = first.projection.warnings
        _print([places_table(found)], first.verdict, warnings, as_markdown=options["as_markdown"])
    _exit([one.verdict for one in found])


def _deployment(path: Path, options: dict[str, Any]) -> Deployment:
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.deployment import at_threshold, with_changes
    from costmodel.inputs.taskfile import read_deployment

    changes = parse_changes(options["settings"])
    if options["ledger_path"]:
        from costmodel.inputs.ledger.traffic import observed, read_traffic

        measured = read_deployment(path, options["bundle"])
        deployment = observed(measured, read_traffic(options["ledger_path"], measured.name))
        deployment = with_changes(deployment, changes)
    else:
        deployment = read_deployment(path, options["bundle"], changes)
    if options["prices"]:
        from costmodel.money.pricelist import read_prices

        own = read_prices(options["prices"])
        deployment = deployment.model_copy(update={"prices": own})
    if options["threshold"] is not None:
        deployment = at_threshold(deployment, options["threshold"])
    return deployment


def _scenario(path: Path, options: dict[str, Any]) -> None:
    from costmodel.inputs.changes import parse_changes
    from costmodel.inputs.scenario import load
    from costmodel.report import scenario as report
    from costmodel.report.export import csv_text

    base = load(path, parse_changes(options["settings"]), options["prices"])
    studies = _studies(base, options)
    if options["html"]:
        write(options["html"], lambda: report.study_page(studies).html())
    _export(base.name, studies[0].bill.rails, base.start, options)
    if options["figures"]:
        report.write_figures(studies[0], options["figures"])
    if options["csv_path"]:
        write(options["csv_path"], lambda: csv_text(studies))
    if options["as_json"]:
        shown = [report.study_json(one) for one in studies]
        click.echo(json.dumps(shown if options["sweeps"] else shown[0], indent=1))
    else:
        first, swept = studies[0], options["sweeps"]
        tables = [report.comparison(studies)] if swept else report.study_tables(first)
        _print(tables, first.verdict, first.warnings, as_markdown=options["as_markdown"])
    _exit([one.verdict for one in studies])


def _studies(base: Any, options: dict[str, Any]) -> list[Study]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from costmodel.inputs.changes import parse_axes
    from costmodel.plan.study import compare, study

    axes, seeds = parse_axes(options["sweeps"]), options["seeds"]
    expected = base.workload.mean_per_s * base.duration_s * seeds
    for values in axes.values():
        expected *= len(values)
    columns = (TextColumn("simulating"), BarColumn(), TextColumn("{task.completed:,.0f} requests"))
    bar = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
    with bar:
        job = bar.add_task("simulating", total=expected)

        def told(done: int) -> None:
            bar.update(job, completed=done)

        shared = {
            "seed": options["seed"],
            "seeds": seeds,
            "workers": options["workers"],
            "progress": told,
        }
        if options["engine"] == "ray":
            from costmodel.engine.on_ray import ray_scenarios

            with ray_scenarios() as cluster:
                return compare(base, axes, **shared, cluster=cluster)
        return compare(base, axes, **shared) if axes else [study(base, **shared)]


def _export(name: str, rails: Sequence[Rail], starts: datetime, options: dict[str, Any]) -> None:
    """Write the bill for other programs, where that was asked for."""
    from costmodel.report.export import csv_of, focus_rows, write_bills

    if options["xlsx_path"]:
        write_bills(options["xlsx_path"], {name: rails})
    cascade = next(rail for rail in rails if rail.name == "cascade")
    write(options["focus_path"], lambda: csv_of(focus_rows(name, cascade, starts, account=name)))


def _exit(verdicts: Sequence[Verdict]) -> None:
    """Leave with the code of the best: a sweep looks for a place that works."""
    code = min(found.exit_code for found in verdicts)
    if code:
        raise SystemExit(code)


def _print(
    tables: Sequence[PageTable], found: Verdict, warnings: Sequence[str], *, as_markdown: bool
) -> None:
    if as_markdown:
        parts = [found.sentence, *(f"Warning: {one}" for one in warnings)]
        click.echo("\n\n".join(parts) + "\n")
    show(tables, as_markdown=as_markdown)
    if as_markdown:
        return
    for one in warnings:
        click.secho(f"Warning: {one}", fg="yellow")
    click.secho(found.sentence, bold=True, fg=_COLOURS[found.tone])


whatif = Questions(
    "whatif",
    help=month.help,
    commands={
        "month": month,
        "compare": compare,
        "year": year,
        "forecast": forecast,
        "footprint": footprint,
        "machines": machines,
    },
    context_settings={"ignore_unknown_options": True},
)
