"""Run the measured router in a process of its own.

    python -m router.bench.servers.target --port N

The same app, ledger (SQLite on disk) and metrics as `raisehand serve`. Unless told otherwise the
student's weights are made up and the teacher is a fake in this process, so that nothing else has to
run; a bundle, a teacher over HTTP or a port shared with a second worker can take their place.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import TokenUsage, now
from router.bench.subject import make_student, make_task
from router.ledger.sqlite import SqliteLedger
from router.pipeline import Pipeline
from router.process.app import create_app
from router.process.server import bind, serve
from router.process.shipping import shipped
from router.service.served import Served
from router.service.service import Service
from router.settings import load_settings
from router.student.batcher import Batcher
from router.student.loaded import Model, ModelSlot
from router.teacher.guard import EscalationGuard
from router.telemetry.metrics import Metrics
from students.runtime.bundle import read_bundle
from students.runtime.load import load_student
from students.runtime.protocol import Student
from students.task import Task
from students.teachers import make_teacher
from students.testing import ScriptedTeacher


def make_service(
    task: Task,
    student: Student,
    threshold: float,
    ledger_path: Path,
    database: str | None = None,
) -> Service:
    """Build the service as `router.process.compose` does, around a given student."""
    settings = load_settings()
    metrics = Metrics(CollectorRegistry())
    if database is not None:
        settings = settings.model_copy(update={"database_url": SecretStr(database)})
    file = SqliteLedger(ledger_path, ships=database is not None)
    ledger = shipped(file, settings, metrics)
    teacher = ScriptedTeacher(student.schema, student.schema.names[0], latency_s=0.05)
    batcher = Batcher(
        student,
        max_queue=settings.max_queue,
        max_batch_texts=settings.max_batch_texts,
        max_batch_tokens=settings.max_batch_tokens,
    )
    slot = ModelSlot(Model("benchmark", student, (threshold,) * len(student.schema), batcher))
    pipeline = Pipeline(
        task,
        slot,
        EscalationGuard(teacher, observe=metrics.attempts_of(task.name)),
        ledger,
        metrics,
        student_usd=price_of(task.student.price).cost(TokenUsage(), now()).usd,
        teacher_price=price_of(task.teacher.price),
    )
    return Service({task.name: Served(task, pipeline)}, ledger, metrics, settings)


@click.command()
@click.option("--port", default=0, type=click.IntRange(0, 65_535))
@click.option("--shared", is_flag=True, help="Let other processes listen on the port, too.")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="Default: a linear student.")
@click.option("--threshold", default=0.0, help="Below this confidence the teacher is asked.")
@click.option("--database", help="PostgreSQL that gets the ledger's rows, too.")
@click.option("--teacher", help="Base URL of one that speaks vLLM's /classify; default: a fake.")
def main(
    port: int,
    shared: bool,
    ledger_path: Path | None,
    bundle: Path | None,
    threshold: float,
    teacher: str | None,
    database: str | None,
) -> None:
    """Serve until a signal says stop."""
    with _ledger(ledger_path) as ledger:
        task = make_task(teacher or "http://127.0.0.1:9", ledger.parent)
        student = make_student(task.schema_) if bundle is None else load(bundle)
        student.predict(["warm up"])
        task = _answering(task, student, teacher)
        service = make_service(task, student, threshold, ledger, database)
        if teacher is not None:
            service.tasks[task.name].pipeline.guard = EscalationGuard(
                make_teacher(task),
                max_concurrency=task.teacher.max_concurrency,
                timeout_s=task.teacher.timeout_s,
                observe=service.metrics.attempts_of(task.name),
            )
        listener = bind("127.0.0.1", port, shared=shared)
        serve(
            create_app(service),
            service,
            listener,
            on_started=lambda: _announce(listener.getsockname()[1]),
        )


def load(bundle: Path) -> Student:
    """Load the student of a bundle."""
    return load_student(read_bundle(bundle))


def _answering(task: Task, student: Student, teacher: str | None) -> Task:
    """The task with the student's labels and the kind of teacher that is there."""
    changes: dict[str, object] = {"labels": dict.fromkeys(student.schema.names, "")}
    if teacher is not None:
        changes["teacher"] = task.teacher.model_copy(update={"mode": "classify"})
    return task.model_copy(update=changes)


@contextmanager
def _ledger(path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path
        return
    with TemporaryDirectory() as folder:
        yield Path(folder) / "ledger.sqlite"


def _announce(port: int) -> None:
    threads = {thread.name: thread.native_id for thread in threading.enumerate()}
    click.echo(json.dumps({"port": port, "threads": threads}))


if __name__ == "__main__":
    main()
