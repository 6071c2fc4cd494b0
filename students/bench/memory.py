"""What memory a big pile takes: labelled and distilled by the commands themselves, a process each.

The texts are made up, a topic's word among words from a lexicon, so that the pile is as large as
asked for, its labels can be learnt and no two texts are equal. The teacher is a server of its own.
How often the rows are gone over (`--epochs`) changes the time and not the peak, which is that of
the texts, their labels, their features and the tables that learn side by side.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import click
import yaml

from costmodel.processes import free_port, running

WORDS, LEXICON = 7, 4_000
LIMIT_MB = 2_048
_COMMAND = (sys.executable, "-c", "from router.cli import run; run()")
_AND_TELL = """
import atexit, sys
from pathlib import Path
from students.bench.memory import peak_mb
told = Path(sys.argv.pop())
atexit.register(lambda: told.write_text(str(peak_mb())))
from router.cli import run
run()
"""
"""Runs a command whose last argument is a file, and leaves there what memory it held. What the
kernel tells a parent of its child counts the parent's own memory, from before the child's exec."""
_DONE = (0, 3, 5)
"""Exit codes of `distill` with a bundle: certified, not certified, certified and of no use."""


@dataclass(frozen=True)
class MemoryFigures:
    """One command. `peak_mb`: the most memory that its process ever held, in MiB."""

    peak_mb: float
    seconds: float
    cpu_seconds: float


@click.command(epilog="Example: raisehand bench memory --rows 1000000 --out docs/benchmarks")
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--labels", default=77, show_default=True, type=click.IntRange(2))
@click.option("--epochs", default=1, show_default=True, type=click.IntRange(1))
@click.option("--keep", type=click.Path(path_type=Path), help="Folder to work in, and to leave.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write memory.json into this folder.",
)
def memory(
    rows: int, labels: int, epochs: int, keep: Path | None, as_json: bool, out: Path | None
) -> None:
    """Label and distil a big pile, and say what memory each took.

    Ends with exit code 1 if one took more than 2 GB.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        took = measure(folder, rows, labels, epochs)
    result = {
        "rows": rows,
        "labels": labels,
        "epochs": epochs,
        "limit_mb": LIMIT_MB,
        **{name: asdict(figures) for name, figures in took.items()},
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "memory.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result))
    for name, figures in took.items():
        click.echo(
            f"{name}: {rows:,} rows, {labels} labels: {figures.peak_mb:,.0f} MB at most, "
            f"{figures.seconds:,.0f} s ({figures.cpu_seconds:,.0f} s of processor)",
            err=as_json,
        )
    if any(figures.peak_mb > LIMIT_MB for figures in took.values()):
        raise SystemExit(1)


def measure(folder: Path, rows: int, labels: int, epochs: int) -> dict[str, MemoryFigures]:
    """Make a pile in `folder`, label it and distil a student of the labels."""
    lexicon = _lexicon()
    topics = {f"topic {i}": lexicon[i] for i in range(labels)}
    write_pile(folder / "inputs.csv", rows, list(topics.values()), lexicon[labels:])
    port = free_port()
    task = folder / "task.yaml"
    task.write_text(yaml.safe_dump(_task(list(topics), port, epochs)), encoding="utf-8")
    knobs = json.dumps({label: [word] for label, word in topics.items()})
    teacher = [*_COMMAND, "fake-teacher", "--task", str(task), "--port", str(port)]
    url = f"http://127.0.0.1:{port}/health"
    with running([*teacher, "--set", f"keywords={knobs}"], url, folder / "teacher.log"):
        label = _figures_of(folder, "label", "--task", str(task), "--yes", "--flips", "0")
    return {"label": label, "distill": _figures_of(folder, "distill", "--task", str(task))}


def peak_mb() -> float:
    """Return the most memory that this process ever held, in MiB."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes) / 1024


def write_pile(path: Path, rows: int, topics: Sequence[str], others: Sequence[str]) -> None:
    """Write so many different texts of about 60 characters, each with the word of one topic."""
    rng = Random(0)
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["text"])
        for row in range(rows):
            words = rng.choices(others, k=WORDS - 2)
            words.insert(rng.randrange(WORDS - 1), rng.choice(topics))
            table.writerow([f"{' '.join(words)} {row}"])


def _lexicon() -> list[str]:
    """Words that are no part of each other, so that a topic is found where its word is."""
    rng = Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    return [f"{''.join(rng.choices(letters, k=rng.randint(2, 5)))}x{n:x}z" for n in range(LEXICON)]


def _task(labels: list[str], port: int, epochs: int) -> dict[str, object]:
    return {
        "name": "memory",
        "labels": labels,
        "teacher": {
            "mode": "classify",
            "base_url": f"http://127.0.0.1:{port}",
            "model": "fake-teacher",
            "terms": "a fake has none",
            "price": {"usd_per_mtok_input": 0.0, "usd_per_mtok_output": 0.0},
        },
        "inputs": {"path": "inputs.csv", "text": "text"},
        "student": {"epochs": epochs},
    }


def _figures_of(folder: Path, *arguments: str) -> MemoryFigures:
    """Run a command to its end.

    Raises:
        ClickException: it failed.
    """
    started = time.perf_counter()
    told = folder / "peak"
    command = [sys.executable, "-c", _AND_TELL, *arguments, str(told)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in _DONE:
        raise click.ClickException(f"raisehand {arguments[0]} ended with {process.returncode}")
    return MemoryFigures(
        peak_mb=round(float(told.read_text("ascii")), 1),
        seconds=round(time.perf_counter() - started, 1),
        cpu_seconds=round(used.ru_utime + used.ru_stime, 1),
    )
