"""A router in memory: real pipeline, scripted student and teacher, ASGI without sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import ClassVar

import numpy as np
import pytest
import yaml
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
from students.label.labelled import LabelledSet
from students.label.record import (
    Agreement,
    LabellingRecord,
    LabelUsage,
    TeacherIdentity,
    save_labels,
)
from students.labels import LabelSchema
from students.runtime.bundle import (
    name_latest,
)
from students.runtime.linear import LinearWeights
from students.task import Task, load_task
from students.teachers import make_teacher
from students.testing import ScriptedStudent, ScriptedTeacher, publish_linear

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


SERVED_LABELS = ["calm", "urgent"]
SERVED_CONFIG = {"shortest": 3, "longest": 4}
LABELLED = 60
SERVED_TASK = {
    "name": "urgent",
    "labels": SERVED_LABELS,
    "teacher": {
        "mode": "chat",
        "base_url": "http://127.0.0.1:9/v1",
        "model": "big",
        "prompt": {"system": "Say it.", "user": "Message: {text}\nUrgent?"},
        "answers": {"urgent": "YES", "calm": "NO"},
        "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 2},
        "timeout_s": 1,
    },
    "inputs": {"path": "inputs.csv"},
    "student": {"price": {"usd_per_hour": 0.1, "requests_per_second": 1000}},
    "audit_rate": 0,
}


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A task with a certified bundle that calls everything urgent and is always sure."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "task.yaml").write_text(yaml.safe_dump(SERVED_TASK))
    publish_certified(folder, "urgent")
    return folder


@pytest.fixture
def publish_bundle():
    """Publish a further bundle of a folder's task, that always says one label."""
    return publish_certified


@pytest.fixture
def folder_of(tmp_path):
    """Make a folder like `folder` whose teacher differs in the given fields."""

    def make(teacher, **task):
        changed = SERVED_TASK | {"teacher": SERVED_TASK["teacher"] | teacher} | task
        (tmp_path / "task.yaml").write_text(yaml.safe_dump(changed))
        publish_certified(tmp_path, "urgent")
        return tmp_path

    return make


@pytest.fixture
def labelled_as(folder_of):
    """Make a folder with the labels its bundle was made of: one for all rows, never in doubt."""

    def make(teacher_url, said, **task):
        teacher = {"mode": "classify", "base_url": teacher_url}
        folder = folder_of(teacher | task.pop("teacher", {}), **task)
        hard = np.tile(np.array([float(name == said) for name in SERVED_LABELS]), (LABELLED, 1))
        labels = LabelledSet(
            LabelSchema(tuple(SERVED_LABELS)),
            tuple(f"text {i}" for i in range(LABELLED)),
            hard.astype(np.float32),
            np.zeros(LABELLED, np.float32),
            np.zeros(LABELLED, np.bool_),
            np.full(LABELLED, -1, np.int32),
        )
        half, asked = LABELLED // 2, make_teacher(load_task(folder / "task.yaml")).descriptor
        record = LabellingRecord(
            task="urgent",
            teacher=TeacherIdentity(**asdict(asked)),
            labels_sha256=labels.sha256, inputs_sha256="0", n=LABELLED, usd="0.06",
            unconfirmed_usd="0",
            usage=LabelUsage(input_tokens=1, output_tokens=0, cached_input_tokens=0, requests=1),
            price="cheap", asked=LABELLED, cached=0, rejected=0, refused=0, unusable=0,
            self_agreement=Agreement(n=100, agreed=100), label_mass=(0,) * 10, unsure=0,
            truncated=0, gold=None, seed=0, date="2026-01-01",
            splits={
                "train": [], "calibration": list(range(half)), "test": list(range(half, LABELLED))
            },
        )  # fmt: skip
        save_labels(folder / ".raisehand", labels, record)
        return folder

    return make


@pytest.fixture(scope="module")
def calm(folder):
    """Another bundle of the task, that calls everything calm; `latest` is the first one again."""
    first = publish_certified(folder, "urgent").id
    bundle = publish_certified(folder, "calm")
    name_latest(bundle.path.parent, first)
    return bundle.id


def publish_certified(folder, says, weights=None, rungs=()):
    """Publish a bundle that always says one label, with a certificate that fits.

    Other `weights` say something else, and `rungs` are the thresholds that audits may raise it to.
    """
    task = load_task(folder / "task.yaml")
    weights = weights or LinearWeights.of(
        3, 4,
        np.full(16, -1, np.int32),
        np.zeros(0, np.float32),
        np.zeros((0, 2), np.float32),
        np.array([9.0 * (label == says) for label in SERVED_LABELS], np.float32),
    )  # fmt: skip
    return publish_linear(task, weights, (0.5, 0.5), rungs=rungs)


@dataclass
class Router:
    """A running `raisehand serve`."""

    process: subprocess.Popen
    url: str
    admin: str = ""
    log: list[str] = field(default_factory=list)
    """Lines that it wrote after it had started."""

    def stop(self, number=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def serve(folder):
    """Start routers; none outlives the test, nor does what an operator told one of them."""
    for store in (folder / ".raisehand").glob("shared.sqlite*"):
        store.unlink()
    started = []

    def start(*arguments, at=folder, uds=None, **environment):
        command = [sys.executable, "-c", "from router.cli import run; run()", "serve"]
        command += ["--port", "0"] if uds is None else ["--uds", str(uds)]
        command += ["--task", str(at / "task.yaml"), *arguments]
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"RAISEHAND_" + k.upper(): str(v) for k, v in environment.items()},
        )
        started.append(process)
        lines, admin = [], ""
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"Operators: (\S+)/", line):
                admin = found[1]
            if found := re.search(r"Serving urgent from bundle [0-9a-f]{12} at (\S+)", line):
                router = Router(process, found[1], admin)
                # a full pipe would stop the router
                threading.Thread(
                    target=router.log.extend, args=(process.stderr,), daemon=True
                ).start()
                return router
        raise AssertionError("".join(lines))

    yield start
    for process in started:
        process.terminate()  # not killed: it has to stop its own workers
        process.wait(30)


class Stalls:
    """How long this machine kept somebody waiting who only wanted to go on."""

    def __init__(self):
        self.worst = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._done.is_set():
            due = time.monotonic() + 0.02
            time.sleep(0.02)
            self.worst = max(self.worst, time.monotonic() - due)

    def close(self):
        """Stop watching."""
        self._done.set()
        self._thread.join()


@pytest.fixture
def stalls():
    """The worst pause of the machine during a test: a promise in seconds is held beyond it."""
    watching = Stalls()
    yield watching
    watching.close()
