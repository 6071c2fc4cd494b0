"""A router process for tests: the real app, server, ledger and teacher client, a scripted student.

    python serve_scripted.py --teacher http://127.0.0.1:9001 --ledger ledger.sqlite

It is sure of every text without 'maybe' in it, and prints its port when it serves.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import TokenUsage, now
from router.ledger.sqlite import SqliteLedger
from router.pipeline import Pipeline
from router.process.app import create_app
from router.process.server import bind, serve
from router.service.served import Served
from router.service.service import Service
from router.settings import load_settings
from router.student.batcher import Batcher
from router.student.loaded import Model, ModelSlot
from router.teacher.guard import EscalationGuard
from router.telemetry.logs import configure_logs
from router.telemetry.metrics import Metrics
from students.task import Task
from students.teachers.classify import ClassifyTeacher
from students.testing import ScriptedStudent


class Student(ScriptedStudent):
    """Sure unless it reads 'maybe'; remembers nothing, so that its memory does not grow."""

    seconds = 0.001

    def predict(self, texts):
        """Take its time, whatever the size of the batch."""
        time.sleep(self.seconds)
        predictions = super().predict(texts)
        self.calls.clear()
        return predictions


@click.command()
@click.option("--teacher", required=True)
@click.option("--ledger", "ledger_path", required=True, type=click.Path(path_type=Path))
@click.option("--concurrency", default=8)
@click.option("--batch-ms", default=1.0)
def main(teacher: str, ledger_path: Path, concurrency: int, batch_ms: float) -> None:
    """Serve until a signal says stop."""
    configure_logs()
    task = Task.model_validate(
        {
            "name": "urgent",
            "labels": ["calm", "urgent"],
            "teacher": {
                "mode": "classify",
                "base_url": teacher,
                "model": "big",
                "timeout_s": 2.0,
                "price": {"usd_per_mtok_input": "2", "usd_per_mtok_output": "2"},
            },
            "inputs": {"path": "inputs.csv"},
        }
    )
    student = Student(task.schema_, lambda text: (0.55, 0.45) if "maybe" in text else (0.99, 0.01))
    student.seconds = batch_ms / 1000.0
    settings = load_settings()
    batcher = Batcher(
        student,
        max_queue=settings.max_queue,
        max_batch_texts=settings.max_batch_texts,
        max_batch_tokens=settings.max_batch_tokens,
    )
    metrics, ledger = Metrics(CollectorRegistry()), SqliteLedger(ledger_path)
    guard = EscalationGuard(
        ClassifyTeacher(task),
        max_concurrency=concurrency,
        timeout_s=task.teacher.timeout_s,
        observe=metrics.attempts_of(task.name),
    )
    pipeline = Pipeline(
        task,
        ModelSlot(Model("scripted", student, (0.9, 0.9), batcher)),
        guard,
        ledger,
        metrics,
        student_usd=price_of(task.student.price).cost(TokenUsage(), now()).usd,
        teacher_price=price_of(task.teacher.price),
    )
    service = Service({task.name: Served(task, pipeline)}, ledger, metrics, settings)
    listener = bind("127.0.0.1", 0)
    serve(
        create_app(service),
        service,
        listener,
        on_started=lambda: click.echo(listener.getsockname()[1]),
    )


if __name__ == "__main__":
    main()
