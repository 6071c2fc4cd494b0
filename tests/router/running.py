"""Routers that really run: folders with certified bundles, `raisehand serve`, who asks them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

import aiohttp
import numpy as np
import pytest
import yaml

from router.testing import FaultServer
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
from students.task import load_task
from students.teachers import make_teacher
from students.testing import publish_linear
from tests.waiting import PATIENCE_S

SERVED_LABELS = ["calm", "urgent"]
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
LABELLED = 60


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
        return self.process.wait(PATIENCE_S)


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
        process.wait(PATIENCE_S)


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


@pytest.fixture
async def session():
    """A client that opens a connection for each request, so that all workers are asked."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
async def calm_teacher():
    """Calls everything calm; the student of `folder` calls everything urgent."""
    async with FaultServer(["NO", "YES"]) as server:
        yield server


async def reason_of(session, url):
    """Ask; returns why that one answered."""
    async with session.post(url + "/v1/classify", json={"text": "help"}) as response:
        await response.read()
        return response.headers["x-raisehand-reason"]
