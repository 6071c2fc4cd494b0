"""`raisehand bench batch`: a big table answered, beside the student alone and what others would do.

The texts are made up: words from a lexicon, so that the file is as large as asked for and can be
made in seconds. The student is a linear one of 77 labels with a table of the size that Banking77
gives it and random weights: speed does not depend on what they say. Its threshold is put where the
share asked for escalates; the teacher answers at once, in this process. With `--encoder` it is an
encoder in int8, with `--task` that task's own student, with its own thresholds.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from router.batch.on_ray.pool import pool_of
from router.bench.on_ray.descendants import descendants_watched
from students.bench.students import make_bundles

if TYPE_CHECKING:
    from router.batch.on_ray.pool import RayPool
    from students.runtime.bundle import Family
    from students.runtime.protocol import Student
    from students.task import Task
    from students.teachers.protocol import TeacherReply

LABELS, BUCKETS, ROWS_KEPT = 77, 1 << 18, 60_000
WORDS, LEXICON = 9, 4_000
GROUP = 1_000_000
"""Rows that are made, and written as a row group, at once."""
SAMPLE, FEW = 20_000, 2_048
"""Texts that tell where the threshold lies; few for an encoder."""
ROUND_S = 0.5
AT_ONCE = 256
"""Texts of one call, to the student alone and to the teacher."""
PEER = Path(__file__).parent / "peers" / "table_loop.py"


@click.command(name="batch", epilog="Example: raisehand bench batch --rows 1000000 --json")
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--escalated", default=0.05, show_default=True, help="Share of rows that are unsure.")
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@click.option(
    "--task",
    "task_path",
    type=click.Path(path_type=Path),
    help="A task with a certified bundle, instead of a student that is made up.",
)
@click.option(
    "--encoder",
    type=click.Path(path_type=Path),
    help="Hugging Face folder: the student is that encoder in int8, with a new head.",
)
@click.option(
    "--table", type=click.Path(path_type=Path), help="Parquet with a column `text` to answer."
)
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--students", type=click.IntRange(1), help="On Ray; default: one a CPU, less one.")
@click.option("--peer-python", type=click.Path(path_type=Path), help="Python with pandas.")
@click.option(
    "--peer-model",
    type=click.Path(path_type=Path),
    help="Folder of an encoder: the peer is a loop of sentence-transformers with it.",
)
@click.option("--peer-rows", default=200_000, show_default=True, type=click.IntRange(100))
@click.option("--keep", type=click.Path(path_type=Path), help="Folder to work in, and to leave.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def batch(
    rows: int,
    escalated: float,
    threads: int | None,
    task_path: Path | None,
    encoder: Path | None,
    table: Path | None,
    engine: str,
    students: int | None,
    peer_python: Path | None,
    peer_model: Path | None,
    peer_rows: int,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Answer a table with a linear student of 77 labels and an instant teacher."""
    pool = pool_of(engine, threads=threads, students=students, gpus=None)
    with TemporaryDirectory() as made:
        folder = keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        if table is None:
            table = folder / "in.parquet"
            make_table(table, rows)
        if task_path is None:
            task_path = write_task(folder, table, escalated, encoder)
        figures = measure(folder, table, threads, task_path, pool)
        if peer_python is not None:
            figures["peer"] = _peer(peer_python, table, peer_rows, peer_model)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        click.echo(f"{name:<34} {value}")


def make_table(path: Path, rows: int) -> None:
    """Write so many different texts of about 60 characters as Parquet."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = pa.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(LEXICON)])
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, GROUP):
            n = min(GROUP, rows - first)
            chosen = np.minimum(rng.geometric(0.002, (WORDS, n)) - 1, LEXICON - 1)
            texts = pc.binary_join_element_wise(*(words.take(pa.array(one)) for one in chosen), " ")
            ids = pa.array(np.arange(first, first + n))
            writer.write_table(pa.table([ids, texts], schema), row_group_size=n)


def measure(
    folder: Path, table: Path, threads: int | None, task_path: Path, pool: RayPool | None = None
) -> dict[str, Any]:
    """Answer the table in this process; return its figures beside those of the student alone."""
    from router.batch.opening import BatchOpening, BatchOptions
    from students.task import load_task

    sample = sample_of(table)
    options = BatchOptions(
        str(table), str(folder / "out"), column="text", threads=threads, pool=pool
    )
    opening = BatchOpening(_beside(load_task(task_path), folder), options)
    own = [student_speed(opening.student, sample)]
    opening.teacher = InstantTeacher(opening)
    joining = time.perf_counter()
    with descendants_watched() as others, opening.job() as job:
        before, started = time.process_time(), time.perf_counter()
        asyncio.run(job.run())
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - before
        summary = opening.summary(job)
        own.append(student_speed(opening.student, sample))
    opening.output.forget()
    rows = summary.rows
    answered = {f"{one.route}, {one.reason}": one.rows for one in summary.tallies}
    return {
        "student": opening.bundle.manifest.family,
        "rows": rows,
        "answered": answered,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "texts_per_s": round(rows / wall_s),
        "texts_per_cpu_s": round(rows / cpu_s),
        "student_alone_texts_per_cpu_s": [round(speed) for speed in own],
        "share_of_the_student_s_own": round(rows / cpu_s / mean(own), 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "engine": job.engine.words,
        "start_s": round(started - joining, 1),
        "other_processes_cpu_s": round(others.cpu_s, 1),
        "other_processes_peak_mb": round(others.peak_mb),
        "load_average_before_and_after": [round(x, 1) for x in os.getloadavg()[:2]],
    }


def _beside(task: Task, folder: Path) -> Task:
    """A task with the same bundles and nothing else: no made-up answer gets among the real ones."""
    work = folder / "work"
    work.mkdir()
    (work / "bundles").symlink_to((task.work_dir / "bundles").resolve())
    return task.model_copy(update={"work_dir": work})


def sample_of(table: Path) -> list[str]:
    """Return the first texts of a table."""
    from router.batch.tables.parquet import read_rows

    texts: list[str] = next(read_rows(table, "text", SAMPLE)).texts.to_pylist()
    return texts


@dataclass(frozen=True)
class MadeUp:
    """A student that has learnt nothing: its speed does not depend on that."""

    student: Student
    family: Family
    config: dict[str, Any]
    save: Callable[[Path], None]
    """Writes its files into a folder."""


def make_linear() -> MadeUp:
    """A linear student of 77 labels with random weights."""
    import numpy as np
    from safetensors.numpy import save_file

    from students.labels import LabelSchema
    from students.runtime.linear import LinearStudent, LinearWeights

    rng = np.random.default_rng(0)
    slots = np.full(BUCKETS, -1, np.int32)
    slots[rng.permutation(BUCKETS)[:ROWS_KEPT]] = np.arange(ROWS_KEPT, dtype=np.int32)
    weights = LinearWeights.of(
        3, 5, slots, rng.uniform(1, 5, ROWS_KEPT).astype(np.float32),
        rng.normal(size=(ROWS_KEPT, LABELS)).astype(np.float32) * 3,
        np.zeros(LABELS, np.float32), "sublinear",
    )  # fmt: skip
    student = LinearStudent(LabelSchema(tuple(f"label {k}" for k in range(LABELS))), weights)
    tensors = weights.tensors()
    return MadeUp(
        student,
        "linear",
        weights.config(),
        lambda path: save_file(tensors, path / "weights.safetensors"),
    )


def make_encoder(model: Path, texts: Sequence[str], folder: Path) -> MadeUp:
    """An encoder in int8 with a new head of 77 labels; texts set its ranges."""
    from students.runtime.load import load_student

    folder.mkdir()
    bundle = make_bundles(model, texts, folder)[1]

    def save(path: Path) -> None:
        for name in bundle.manifest.files:
            shutil.copy(bundle.path / name, path / name)

    return MadeUp(load_student(bundle), bundle.manifest.family, bundle.manifest.config, save)


def student_speed(student: Student, texts: Sequence[str], rounds: int = 5) -> float:
    """Texts a CPU second of `predict` in calls of 256 texts, the median of some rounds."""
    speeds = []
    for _ in range(rounds + 1):
        before, answered = time.process_time(), 0
        while (used := time.process_time() - before) < ROUND_S:
            start = answered % (len(texts) - AT_ONCE)
            answered += len(student.predict(texts[start : start + AT_ONCE]))
        speeds.append(answered / used)
    return median(speeds[1:])


def write_task(folder: Path, table: Path, escalated: float, encoder: Path | None = None) -> Path:
    """Write a task, and a student that is made up as its certified bundle; return its file.

    The student is unsure of a share of `escalated` of the table; `encoder` makes it one.
    """
    import yaml

    from students.task import load_task
    from students.testing import publish_unproved

    texts = sample_of(table)
    made = make_encoder(encoder, texts[:1_024], folder / "made") if encoder else make_linear()
    few = texts[:FEW] if encoder else texts
    said = sorted(one.confidence for one in made.student.predict(few))
    threshold = said[int(escalated * len(said))]
    labels = tuple(f"label {k}" for k in range(LABELS))
    document = {
        "name": "bench",
        "labels": list(labels),
        "teacher": {
            "mode": "classify", "base_url": "http://127.0.0.1:9", "model": "instant",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
            "texts_per_call": AT_ONCE,
        },
        "inputs": {"path": "in.parquet"},
        "audit_rate": 0,
    }  # fmt: skip
    written = folder / "task.yaml"
    written.write_text(yaml.safe_dump(document), encoding="utf-8")
    task = load_task(written)

    publish_unproved(task, made.family, made.config, made.save, (threshold,) * LABELS)
    return written


class InstantTeacher:
    """Answers at once and in this process, as /classify would: the first label, surely."""

    def __init__(self, like: Any) -> None:
        self.schema = like.teacher.schema
        self.descriptor = like.teacher.descriptor

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Answer each text."""
        from costmodel.money.pricing import TokenUsage
        from students.labels import LabelDistribution
        from students.teachers.protocol import TeacherReply

        said = LabelDistribution.hard(0, len(self.schema))
        name = self.schema.names[0]
        return [TeacherReply(said, TokenUsage(1 + len(text) // 4), name, "{}") for text in texts]

    async def check(self, *, timeout_s: float | None = None) -> None:
        """It is always there."""

    async def aclose(self) -> None:
        """Nothing is open."""


def _peer(python: Path, table: Path, rows: int, model: Path | None) -> dict[str, Any]:
    """Run what others would do, in an environment of its own."""
    words = [str(python), str(PEER), str(table), str(rows), str(LABELS)]
    words += [str(model)] if model else []
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{PEER.name} failed: {done.stderr[-600:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
