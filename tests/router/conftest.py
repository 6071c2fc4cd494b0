"""A router in memory: real pipeline, scripted student and teacher, ASGI without sockets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec
from router.ledger.entry import MemoryLedger
from router.pipeline import Pipeline
from router.process.app import create_app
from router.service.passthrough import Passthrough
from router.service.served import Served
from router.service.service import Service
from router.settings import Settings
from router.student.batcher import Batcher
from router.student.loaded import Model, ModelSlot
from router.teacher.guard import EscalationGuard
from router.telemetry.metrics import Metrics
from students.task import Task
from students.testing import ScriptedStudent, ScriptedTeacher
from tests.router.running import (  # noqa: F401 fixtures
    calm,
    calm_teacher,
    folder,
    folder_of,
    labelled_as,
    publish_bundle,
    serve,
    session,
    stalls,
)

TEACHER_PRICE = PriceSpec(usd_per_mtok_input=Decimal(1), usd_per_mtok_output=Decimal(2))
STUDENT_USD = Decimal("0.00000002")


@pytest.fixture(name="make_task")
def make_task_fixture():
    """Make tasks that differ from the usual one in the given fields."""
    return make_task


@pytest.fixture
def usual_task():
    """The same, where a test has a `make_task` of its own."""
    return make_task


@pytest.fixture
def task():
    """The usual task: calm or urgent, a chat teacher, degrade on failure."""
    return make_task()


def make_task(**changes):
    """The usual task with the given fields changed."""
    teacher = {
        "mode": "chat",
        "base_url": "http://127.0.0.1:9",
        "model": "big",
        "prompt": {"system": "Say it.", "user": "Message: {text}\nUrgent?"},
        "answers": {"urgent": "YES", "calm": "NO"},
        "price": TEACHER_PRICE,
    } | changes.pop("teacher", {})
    return Task.model_validate(
        {
            "name": "urgent",
            "labels": ["calm", "urgent"],
            "teacher": teacher,
            "inputs": {"path": "inputs.csv"},
        }
        | changes
    )


def said(text):
    """What the scripted student says: sure of most, unsure of 'maybe', broken on 'poison'."""
    if "poison" in text:
        return RuntimeError("poison")
    if "nan" in text:
        return (float("nan"), float("nan"))
    if "maybe" in text:
        return (0.55, 0.45)
    return (0.02, 0.98) if "help" in text else (0.97, 0.03)


@pytest.fixture
async def upstream():
    """Start a teacher's server around a handler; stopped when the test is over."""
    runners = []

    async def start(handler):
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", handler)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    yield start
    for runner in runners:
        await runner.cleanup()


@dataclass
class Response:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Cycle:
    """The receiving end of one request, like uvicorn's: it knows whether the client left."""

    chunks: list[bytes]
    disconnected: bool = False
    messages: list = field(default_factory=list)

    async def receive(self):
        """Give the next chunk; after the last one the client is gone."""
        if not self.chunks:
            return {"type": "http.disconnect"}
        chunk = self.chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks)}

    async def send(self, message):
        """Keep what is written."""
        self.messages.append(message)


@dataclass
class Rig:
    """A service with everything it is made of in reach."""

    service: Service
    app: object
    ledger: MemoryLedger
    student: ScriptedStudent
    teacher: ScriptedTeacher
    pipeline: Pipeline
    Cycle: ClassVar = Cycle

    async def post(self, path, payload, headers=()):
        """POST JSON, or bytes as they are."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return await call(self.app, "POST", path, [body], headers)

    def count(self, name, labels=None):
        """Value of a metric."""
        return self.service.metrics.registry.get_sample_value(name, labels or {})

    async def send(self, path, chunks, headers=(), cycle=None):
        """POST a body that arrives in pieces."""
        return await call(self.app, "POST", path, chunks, headers, cycle)

    async def get(self, path):
        """GET a path."""
        return await call(self.app, "GET", path, [b""])


async def call(app, method, path, chunks, headers=(), cycle=None):
    """Make one ASGI request; None when nothing was written."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), *headers],
        "server": ("router", 80),
        "client": ("client", 1),
        "state": {},
    }
    cycle = cycle or Cycle(chunks)
    await app(scope, cycle.receive, cycle.send)
    if not cycle.messages:
        return None
    start, *rest = cycle.messages
    return Response(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in rest),
    )


@pytest.fixture
def request_asgi():
    """Make one ASGI request of any application."""
    return call


@pytest.fixture
async def rig():
    """Build rigs; each is started, and closed when the test is over."""
    rigs = []

    async def build(
        *,
        settings=None,
        student=None,
        teacher=None,
        task=None,
        budget=None,
        teacher_price=price_of(TEACHER_PRICE),  # noqa: B008 frozen
        keys=None,
        start=True,
    ):
        task = task or make_task()
        student = student or ScriptedStudent(task.schema_, said)
        teacher = teacher or ScriptedTeacher(task.schema_, "urgent")
        settings = settings or Settings()
        ledger, metrics = MemoryLedger(), Metrics(CollectorRegistry())
        batcher = Batcher(
            student,
            max_queue=settings.max_queue,
            max_batch_texts=settings.max_batch_texts,
            max_batch_tokens=settings.max_batch_tokens,
        )
        slot = ModelSlot(Model("bundle000001", student, (0.9, 0.9), batcher))
        pipeline = Pipeline(
            task,
            slot,
            EscalationGuard(teacher, observe=metrics.attempts_of(task.name)),
            ledger,
            metrics,
            student_usd=STUDENT_USD,
            teacher_price=teacher_price,
            budget=budget,
        )
        served = {task.name: Served(task, pipeline)}
        service = Service(served, ledger, metrics, settings, keys=keys)
        if start:
            service.start()
        made = Rig(service, create_app(service), ledger, student, teacher, pipeline)
        rigs.append(made)
        return made

    yield build
    for made in rigs:
        await made.service.close()


SERVED_CONFIG = {"shortest": 3, "longest": 4}


@pytest.fixture
def behind(rig, make_task):
    """Build a router that passes on to a teacher at a URL."""

    async def build(url, *, limits=None, budget=None, **teacher):
        task = make_task(teacher={"base_url": url, **teacher})
        made = await rig(task=task, budget=budget)
        passthrough = Passthrough(
            task.teacher, made.pipeline, made.pipeline.clock, **(limits or {})
        )
        made.service.tasks[task.name] = Served(task, made.pipeline, passthrough)
        made.app = create_app(made.service)
        return made

    return build
