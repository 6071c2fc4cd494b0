"""Run the measured router in a process of its own: `python -m router.bench.target --port N`.

The same app, ledger (SQLite on disk) and metrics as `raisehand serve`; only the student's weights
are made up and the teacher is a fake in this process, so that nothing else has to run.
"""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from costmodel.pricebook import price_of
from costmodel.pricing import TokenUsage, now
from router.app import create_app
from router.batcher import Batcher
from router.bench.subject import make_student, make_task
from router.escalation import EscalationGuard
from router.ledger import SqliteLedger
from router.metrics import Metrics
from router.pipeline import Pipeline
from router.server import bind, serve
from router.service import Served, Service
from router.settings import load_settings
from router.slot import Model, ModelSlot
from students.runtime.protocol import Student
from students.task import Task
from students.testing import ScriptedTeacher


def make_service(task: Task, student: Student, threshold: float, ledger_path: Path) -> Service:
    """Build the service as `router.compose` does, around a given student."""
    settings = load_settings()
    metrics, ledger = Metrics(CollectorRegistry()), SqliteLedger(ledger_path)
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
        EscalationGuard(teacher, observe=metrics.attempt),
        ledger,
        metrics,
        student_usd=price_of(task.student.price).cost(TokenUsage(), now()).usd,
        teacher_price=price_of(task.teacher.price),
    )
    return Service({task.name: Served(task, pipeline)}, ledger, metrics, settings)


@click.command()
@click.option("--port", default=0, type=click.IntRange(0, 65_535))
@click.option("--threshold", default=0.0, help="Below this confidence the teacher is asked.")
def main(port: int, threshold: float) -> None:
    """Serve until a signal says stop."""
    with tempfile.TemporaryDirectory() as folder:
        task = make_task("http://127.0.0.1:9", Path(folder))
        student = make_student(task.schema_)
        student.predict(["warm up"])
        service = make_service(task, student, threshold, Path(folder) / "ledger.sqlite")
        listener = bind("127.0.0.1", port)
        serve(
            create_app(service),
            service,
            listener,
            on_started=lambda: _announce(listener.getsockname()[1]),
        )


def _announce(port: int) -> None:
    threads = {thread.name: thread.native_id for thread in threading.enumerate()}
    click.echo(json.dumps({"port": port, "threads": threads}))


if __name__ == "__main__":
    main()
