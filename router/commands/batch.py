"""`raisehand batch`: a whole table answered, the student first, the teacher within a budget."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import Number
from router.batch.on_ray.pool import pool_of

if TYPE_CHECKING:
    from router.batch.estimate import BatchEstimate
    from router.batch.run import BatchJob, BatchProgress
    from router.batch.summary import BatchSummary


@click.command(epilog="Example: raisehand batch rows.parquet answered.parquet --max-usd 5")
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--bundle", help="Bundle id; default: latest.")
@click.option("--text", "column", help="Column of the texts; default: inputs.text of the task.")
@click.option("--prefix", default="", help="Before the names of the five columns that are added.")
@click.option(
    "--max-usd",
    type=Number(0),
    help="What the teacher may cost in all; rows beyond it are answered as on_failure says.",
)
@click.option(
    "--teacher",
    "way",
    type=click.Choice(["live", "batch-api"]),
    default="live",
    show_default=True,
    help="How unsure rows are asked about: at once, or within a day at the tariff of batches.",
)
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and end.")
@click.option("--yes", is_flag=True, help="Do not ask before spending.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draw of audits.")
@click.option(
    "--rows-per-part",
    "at_once",
    default=65_536,
    show_default=True,
    type=click.IntRange(1),
    help="Rows that are answered, written and booked together.",
)
@click.option("--threads", type=click.IntRange(1), help="Of the student; default: one a core.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the student works: here, or on the Ray cluster of RAY_ADDRESS (none: one of this "
    "machine's cores).",
)
@click.option("--students", type=click.IntRange(1), help="On Ray; default: one a CPU, less one.")
@click.option(
    "--gpus-per-student",
    "gpus",
    type=Number(0, min_open=True),
    help="On Ray: a GPU, or a part of one, for each; default: CPUs only.",
)
@click.option(
    "--ledger",
    "ledger_path",
    type=click.Path(path_type=Path),
    help="SQLite file of every dollar; default: ledger.sqlite in the task's work_dir.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def batch(
    source: str,
    out: str,
    task_path: Path,
    bundle: str | None,
    column: str | None,
    prefix: str,
    max_usd: float | None,
    way: str,
    dry_run: bool,
    yes: bool,
    seed: int,
    at_once: int,
    threads: int | None,
    engine: str,
    students: int | None,
    gpus: float | None,
    ledger_path: Path | None,
    as_json: bool,
) -> None:
    """Answer each row of a table, or of a folder of tables, at a path or a URL.

    IN is Parquet, CSV or JSON lines, packed or not; OUT is a file of the same kind, or a folder.
    Every row comes back in its place with label, confidence, route, reason and cost_usd. A run that
    was killed goes on where it was: nothing is asked or billed twice. What it books goes to the
    database of RAISEHAND_DATABASE_URL, too.
    """
    from router.batch.opening import BatchOpening, BatchOptions
    from router.settings import load_settings
    from students.commands.bars import tell_of_batches
    from students.task import load_task

    url = load_settings().database_url
    limit = None if max_usd is None else Decimal(str(max_usd))
    options = BatchOptions(
        source, out, bundle, column, prefix, limit, seed, at_once, threads, ledger_path,
        way == "batch-api", tell_of_batches(),
        pool_of(engine, threads=threads, students=students, gpus=gpus),
        None if url is None else url.get_secret_value(),
    )  # fmt: skip
    opening = BatchOpening(load_task(task_path), options)
    estimate = opening.estimate()
    if dry_run:
        click.echo(json.dumps(estimate.document(), indent=1) if as_json else estimate.sentence)
        return
    _agree(estimate, limit, yes)
    with opening.job() as job:
        if options.pool is not None:
            click.echo(f"Answering: {job.engine.words}.", err=True)
        if job.journal.done:
            done = sum(record.rows for record in job.journal.done)
            click.echo(f"Going on: {done:,} rows are answered already.", err=True)
        try:
            asyncio.run(_run(job))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "Interrupted. What was answered is kept; run the same command to go on."
            ) from None
        summary = opening.summary(job)
    opening.output.forget()
    if as_json:
        click.echo(json.dumps(summary.document(), indent=1))
    else:
        _print(summary)


async def _run(job: BatchJob) -> None:
    try:
        with _progress() as progress:
            await job.run(progress)
    finally:
        await job.teacher.aclose()


def _agree(estimate: BatchEstimate, limit: Decimal | None, yes: bool) -> None:
    """Say what it will cost; go on with --yes, within a limit, when free, or when told to."""
    click.echo(estimate.sentence, err=True)
    if limit is not None and estimate.usd is not None and estimate.usd > limit:
        click.echo(
            f"That is more than the ${limit} allowed: the first unsure rows are asked about, and "
            "those after them are answered as teacher.on_failure says.",
            err=True,
        )
    if yes or limit is not None or estimate.usd_per_million == 0:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to confirm the cost; give --yes or --max-usd")
    click.confirm("Continue?", abort=True, err=True)


@contextmanager
def _progress() -> Iterator[Callable[[BatchProgress], None]]:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from students.commands.bars import Bars

    columns = (
        TextColumn("answering"),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows, {task.fields[rate]}"),
        TextColumn("${task.fields[usd]:.4f} spent"),
        TextColumn("{task.fields[asking]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns) as bar:
        line = bar.add_task("", total=None, rows="0", rate="", usd=Decimal(0), asking="")

        def show(state: BatchProgress) -> None:
            speed = bar.tasks[line].speed
            of = f" of {state.rows:,}" if state.rows is not None else ""
            bar.update(
                line,
                completed=state.done,
                total=state.rows,
                rows=f"{state.done:,}{of}",
                rate=f"{speed:,.0f} a second" if speed else "…",
                usd=state.usd,
                asking=f"asked {state.asked:,} of {state.asking:,}" if state.asking else "",
            )

        yield show


def _print(summary: BatchSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Answers of bundle {summary.bundle}", show_header=False)
    for name, value in summary.lines():
        table.add_row(name, value)
    Console().print(table)
    click.echo(f"Wrote {summary.out}.")
