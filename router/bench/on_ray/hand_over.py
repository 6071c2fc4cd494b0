"""`raisehand bench ray`: a student in this process, in the shared engine, and on Ray Serve.

The same bundle three times; a call goes to each in turn, so that all three meet the same machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.extras import require
from costmodel.processes import running
from router.bench.batch import make_table, sample_of, write_task
from router.bench.on_ray.cluster import ray_serve_of
from router.bench.on_ray.descendants import DescendantCost

if TYPE_CHECKING:
    from students.runtime.protocol import Student

SIZES = (1, 16, 64, 256)
_ROWS = 10_000


@click.command(name="ray", epilog="Example: raisehand bench ray --calls 1000 --json")
@click.option("--calls", default=300, show_default=True, type=click.IntRange(10))
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(1))
@click.option("--ha-proxy", is_flag=True, help="Ray Serve behind its HAProxy, not its own proxy.")
@click.option(
    "--encoder",
    type=click.Path(path_type=Path),
    help="Folder of an encoder: the student is it, in int8; default: a linear one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ray_serve(
    calls: int, replicas: int, ha_proxy: bool, encoder: Path | None, as_json: bool
) -> None:
    """Time calls of a student of 77 labels: in this process, in the shared engine, on Ray Serve."""
    require("ray")
    with TemporaryDirectory() as made:
        found = measure(Path(made), calls, replicas, ha_proxy, encoder)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            click.echo(f"{name:<20} {row}")


def measure(
    folder: Path, calls: int, replicas: int, ha_proxy: bool, encoder: Path | None = None
) -> dict[str, Any]:
    """Start both, ask all three in turn, and look at what they hold in memory."""
    from router.student.remote_student import RemoteStudent
    from students.runtime.bundle import find_bundle
    from students.runtime.load import load_student

    table = folder / "in.parquet"
    make_table(table, _ROWS)
    write_task(folder, table, 0.05, encoder)
    bundle = find_bundle(folder / ".raisehand")
    schema, texts = bundle.manifest.schema_, sample_of(table)
    started: dict[str, float] = {}
    memory: dict[str, float] = {}
    with _timed(started, memory, "engine", _engine(folder)) as socket:
        engine = RemoteStudent(schema, socket, bundle.path)
        serve = ray_serve_of(bundle, replicas, folder, ha_proxy)
        with _timed(started, memory, "ray_serve", serve) as (address, _):
            there = RemoteStudent(schema, address, bundle.path)
            students = {"own": load_student(bundle), "engine": engine, "ray_serve": there}
            rows = [_row(students, texts[:size], calls) for size in SIZES]
    return {
        "calls": calls,
        "replicas": replicas,
        "ha_proxy": ha_proxy,
        "microseconds": rows,
        "start_s": started,
        "memory_mb": memory,
        "load_average": [round(x, 1) for x in os.getloadavg()[:2]],
    }


def _row(students: dict[str, Student], texts: Sequence[str], calls: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in students}
    for _ in range(calls):
        for name, student in students.items():
            begun = time.perf_counter()
            student.predict(texts)
            times[name].append((time.perf_counter() - begun) * 1e6)
    row: dict[str, float] = {"texts": len(texts)}
    for name, taken in times.items():
        row[f"{name}_p50"] = round(median(taken), 1)
        row[f"{name}_p99"] = round(sorted(taken)[int(len(taken) * 0.99)], 1)
    return row


@contextmanager
def _timed(
    started: dict[str, float], memory: dict[str, float], name: str, server: Any
) -> Iterator[Any]:
    """How long a server takes to come, and what all its processes hold in the end."""
    before = _memory_mb()
    begun = time.perf_counter()
    with server as address:
        started[name] = round(time.perf_counter() - begun, 1)
        yield address
        memory[name] = round(_memory_mb() - before)


def _memory_mb() -> float:
    cost = DescendantCost()
    cost.look()
    return cost.peak_mb


@contextmanager
def _engine(folder: Path) -> Iterator[Path]:
    address = folder / "engine.sock"
    command = [sys.executable, "-m", "router.process.engine", "--socket", str(address)]
    with running(command, address.exists, folder / "engine.log"):
        yield address
