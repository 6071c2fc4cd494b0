"""How busy labelling keeps a fast teacher, and what memory it takes."""

from __future__ import annotations

import asyncio
import json
import platform
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.money.pricing import TokenPrice
from students.label.inputs import make_inputs
from students.label.labelling import label_inputs
from students.task import Task
from students.testing import ScriptedTeacher

if TYPE_CHECKING:
    from students.task import Task

_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class LabellingFigures:
    """One run.

    Attributes:
        busy: share of its capacity (limit × time from first to last) that the teacher was given:
            rows × its own time / (limit × seconds). What labelling adds between two calls counts
            as idle.
        cpu_us_per_text: what labelling itself computes for one text; unlike `busy` it hardly
            depends on what else the machine does.
        peak_rss_mb: the most memory this process ever held.
    """

    rows: int
    max_concurrency: int
    teacher_ms: float
    busy: float
    texts_per_second: float
    seconds: float
    cpu_us_per_text: float
    peak_rss_mb: float
    python: str


async def measure(
    rows: int, max_concurrency: int, latency_s: float, folder: Path
) -> LabellingFigures:
    """Label `rows` distinct texts from a teacher that takes `latency_s` for each."""
    task = _task(max_concurrency, folder)
    teacher = ScriptedTeacher(task.schema_, (0.3, 0.7), latency_s=latency_s)
    inputs = make_inputs([f"message number {i}, as long as a usual one is" for i in range(rows)])
    start, computed = time.perf_counter(), time.process_time()
    labelling = await label_inputs(
        inputs,
        teacher,
        task,
        folder / "replies.sqlite",
        price=TokenPrice(Decimal(1), Decimal(1), Decimal(1), "$1 per million tokens"),
        max_usd=Decimal(1000),
        repeats=0,
    )
    seconds, computed = time.perf_counter() - start, time.process_time() - computed
    assert labelling.asked == rows
    return LabellingFigures(
        rows=rows,
        max_concurrency=max_concurrency,
        teacher_ms=1000 * latency_s,
        busy=round(rows * latency_s / (max_concurrency * seconds), 4),
        texts_per_second=round(rows / seconds, 1),
        seconds=round(seconds, 2),
        cpu_us_per_text=round(1e6 * computed / rows, 1),
        peak_rss_mb=round(_peak_rss() / _MEGABYTE, 1),
        python=platform.python_version(),
    )


def _task(max_concurrency: int, folder: Path) -> Task:
    price = {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1}
    return Task.model_validate(
        {
            "name": "bench",
            "labels": ["no", "yes"],
            "teacher": {
                "base_url": "http://127.0.0.1:1",
                "model": "scripted",
                "max_concurrency": max_concurrency,
                "price": price,
            },
            "inputs": {"path": str(folder / "none.csv")},
        }
    )


def _peak_rss() -> int:
    """Bytes; Linux counts in kilobytes, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@click.command(epilog="Example: raisehand bench labelling --json")
@click.option("--rows", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--max-concurrency", default=32, show_default=True, type=click.IntRange(1))
@click.option("--teacher-ms", default=50.0, show_default=True, type=click.FloatRange(0))
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def labelling(rows: int, max_concurrency: int, teacher_ms: float, as_json: bool) -> None:
    """Measure how much of the concurrency limit labelling keeps busy, and its memory."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(rows, max_concurrency, teacher_ms / 1000, Path(folder)))
    if as_json:
        click.echo(json.dumps(asdict(figures), indent=1))
        return
    click.echo(
        f"{figures.rows:,} texts from a {figures.teacher_ms:g} ms teacher at {max_concurrency} in "
        f"flight: {figures.busy:.1%} of the limit busy, {figures.texts_per_second:,.0f} texts/s, "
        f"{figures.peak_rss_mb:.0f} MB"
    )
