"""`raisehand assess`: from the log of calls that are already paid for to what could be saved."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import Number
from costmodel.extras import require

if TYPE_CHECKING:
    from rich.progress import TaskID

    from costmodel.money.pricing import PriceSpec
    from students.commands.bars import Bars

Paths = click.Path(path_type=Path)


@click.command(
    epilog=(
        "Examples: raisehand assess spend-logs.jsonl; "
        "raisehand assess exports/ --job triage --agreement 0.98; "
        "raisehand assess batch-in.jsonl batch-out.jsonl --sampled 0.1 --mask-pii; "
        "raisehand assess postgresql://reader@db/litellm --since 2026-10-01"
    )
)
@click.argument("logs", nargs=-1, required=True)
@click.option(
    "--out", type=Paths, default=Path("assess"), show_default=True, help="A folder for each job."
)
@click.option(
    "--job", "only", multiple=True, help="Only the jobs whose name holds this; repeat it."
)
@click.option(
    "--agreement",
    "promises",
    type=Number(0, 1, min_open=True, max_open=True),
    multiple=True,
    default=(0.97, 0.95),
    show_default=True,
    help="Promised agreement with the teacher; each is a look at the rows that judge.",
)
@click.option(
    "--sampled",
    type=Number(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the traffic that the log holds.",
)
@click.option("--days", type=Number(0, min_open=True), help="Days that it covers.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Of a URL: calls from this day on, UTC.  [default: 30 days ago]",
)
@click.option("--price", help="The teacher's price, e.g. openai:gpt-4o-mini; default: the log's.")
@click.option("--mask-pii", "masking", is_flag=True, help="Mask e-mails, phones, cards … first.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def assess(
    logs: tuple[str, ...],
    out: Path,
    only: tuple[str, ...],
    promises: tuple[float, ...],
    sampled: float,
    days: float | None,
    since: datetime | None,
    price: str | None,
    masking: bool,
    as_json: bool,
) -> None:
    """Find the narrow jobs in LOGS, and say what a student could keep and save of each.

    Reads LiteLLM spend logs, Langfuse exports, OpenAI stored completions and batch files,
    OpenTelemetry GenAI and OpenInference spans: JSON lines, JSON, CSV, Parquet. Where LOGS is
    postgresql://…, langfuse+https://HOST or litellm+https://HOST, calls are read there, and only
    read. No teacher is asked and nothing leaves this machine. Each narrow job becomes a folder
    that `distill` and `serve` go on with, and assess.html tells it all.
    """
    from rich.console import Console
    from rich.table import Table

    from students.assess import report as told
    from students.assess.jobs import find_jobs
    from students.assess.judge import judge, money_of
    from students.assess.log import read_log
    from students.commands.bars import Bars
    from students.errors import BadInputs

    require("train")
    with Bars(transient=True) as bars:
        reading = bars.add_task("read", total=None)
        first = since.replace(tzinfo=UTC) if since else datetime.now(UTC) - timedelta(days=30)
        log = read_log(logs, lambda n: bars.update(reading, completed=n), first)
        covered = days or log.days
        if covered is None:
            raise BadInputs("no call of the log says when it was made; give --days")
        jobs, lost = find_jobs(log.calls)
        jobs = [job for job in jobs if not only or any(word in job.name for word in only)]
        if not jobs:
            raise BadInputs(
                f"there is no job of that name or of 50 calls or more among {len(log.calls):,} "
                f"calls; passed over: {dict(log.passed) or 'nothing'}"
            )
        judged = []
        for job in jobs:
            bar = bars.add_task(job.name, total=None)
            money = money_of(job, covered, sampled, _price(price))
            judged.append(
                judge(
                    job,
                    money,
                    out / job.name,
                    promises,
                    masking=masking,
                    report=partial(_show, bars, bar, job.name),
                )
            )
    judged.sort(key=lambda one: -(one.money.usd_per_month or 0.0))
    out.mkdir(parents=True, exist_ok=True)
    (out / "assess.html").write_text(told.page(log, lost, judged).html(), "utf-8")
    if as_json:
        click.echo(json.dumps(told.as_json(log, lost, judged), indent=1))
        return
    console = Console()
    console.print(told.summary(log, lost), highlight=False)
    headers, rows = told.overview(judged)
    table = Table(*headers)
    for row in rows[: told.SCREEN]:
        table.add_row(*row)
    console.print(table)
    for one in judged[: told.SCREEN]:
        console.print(f"[bold]{one.job.name}[/]: " + " ".join(told.sentences(one)), highlight=False)
    console.print(f"The page: {out / 'assess.html'}")


def _show(bars: Bars, bar: TaskID, name: str, stage: str, done: int, total: int) -> None:
    bars.update(bar, description=f"{name}: {stage}", completed=done, total=total)


def _price(name: str | None) -> PriceSpec | None:
    from costmodel.money.pricing import PriceSpec

    return None if name is None else PriceSpec(model=name)
