"""Two real routers of one task: one that is watched in every way, one that is not at all.

The student is of the usual size and sure of its first label, which is what the teacher says, too.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from router.bench.process import Subject, command_subject, free_port
from router.bench.subject import LABELS, make_student
from router.errors import BadSettings
from students.runtime.bundle import Bundle
from students.runtime.linear import LinearWeights
from students.task import Task, load_task
from students.testing import publish_linear

AUDIT_RATE = 0.01
SURE = 60.0
"""Added to the logit of the first label."""
_TASK = "intents"


@dataclass(frozen=True)
class Routed:
    """A router, where operators reach it, and what they need."""

    subject: Subject
    admin: str = ""
    token: str = ""

    def pause(self) -> None:
        """Stop its process: what it does by itself is no part of the other one's turn."""
        os.kill(self.subject.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        os.kill(self.subject.pid, signal.SIGCONT)

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """Have somebody look at its page, where it has one."""
        if not self.admin:
            yield
            return
        host, _, port = self.admin.removeprefix("http://").partition(":")
        head = f"GET /board/stream HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {self.token}"
        # What comes is left in the socket: some kilobytes in the seconds of a turn.
        with socket.create_connection((host, int(port))) as looker:
            looker.sendall(f"{head}\r\n\r\n".encode())
            yield

    def state(self) -> dict[str, object]:
        """Return what it says of its task."""
        return dict(self._call("/state", None)["tasks"][_TASK])

    def compared(self, timeout_s: float) -> dict[str, Any]:
        """Return what it says once it has compared its students on audits, told now and then.

        Raises:
            BadSettings: it did not, so that it was not watched as it should have been.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            state: dict[str, Any] = self.state()
            if state["duel"] and state["duel"]["compared"] and state["raised_threshold"] is None:
                return state
            if time.monotonic() > deadline:
                raise BadSettings(f"the router was not watched as it should have been: {state}")
            time.sleep(0.5)

    def shadow(self, bundle: str) -> None:
        """Have a candidate scored beside its student."""
        self._call(f"/tasks/{_TASK}/shadow", {"bundle": bundle})

    def _call(self, path: str, body: dict[str, str] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        head = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        request = urllib.request.Request(self.admin + path, data, head)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return dict(json.load(reply))


@contextmanager
def two_routers(folder: Path, teacher: str, core: int) -> Iterator[tuple[Routed, Routed]]:
    """Start both on one core: (watched in no way, in every way)."""
    with ExitStack() as stack:
        plain = stack.enter_context(_router(folder / "off", teacher, core, watched=False))
        watched = stack.enter_context(_router(folder / "on", teacher, core, watched=True))
        yield plain, watched


@contextmanager
def _router(folder: Path, teacher: str, core: int, *, watched: bool) -> Iterator[Routed]:
    task = _task(folder, teacher, AUDIT_RATE if watched else 0.0)
    candidate, serving = _publish(task, seed=1), _publish(task, seed=0)
    port, token, admin = free_port(), secrets.token_hex(16), ""
    command = [sys.executable, "-c", "from router.cli import run; run()", "serve"]
    command += ["--task", str(folder / "task.yaml"), "--port", str(port), "--bundle", serving.id]
    if watched:
        admin_port = free_port()
        admin = f"http://127.0.0.1:{admin_port}"
        command = ["env", f"RAISEHAND_ADMIN_TOKEN={token}", *command]
        command += ["--admin-port", str(admin_port)]
    with command_subject(command, core, port, path="/healthz") as subject:
        routed = Routed(subject, admin, token)
        if watched:
            _when_there(routed, candidate.id)
        yield routed


def _when_there(routed: Routed, candidate: str) -> None:
    deadline = time.monotonic() + 30.0
    while True:
        try:
            routed.shadow(candidate)
            return
        except urllib.error.HTTPError:
            raise
        except OSError:  # the admin port opens a moment later
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _task(folder: Path, teacher: str, audit_rate: float) -> Task:
    folder.mkdir(parents=True)
    fields = {
        "name": _TASK,
        "labels": [f"intent_{k:02d}" for k in range(LABELS)],
        "teacher": {
            "mode": "classify",
            "base_url": teacher,
            "model": "big-teacher",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 5},
        },
        "inputs": {"path": "inputs.csv"},
        "student": {"price": {"usd_per_hour": 0.1, "requests_per_second": 2000}},
        "audit_rate": audit_rate,
    }
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return load_task(path)


def _publish(task: Task, seed: int) -> Bundle:
    return publish_linear(task, _sure(task, seed), (0.5,) * len(task.schema_.names))


def _sure(task: Task, seed: int) -> LinearWeights:
    made = make_student(task.schema_, seed).weights
    bias = np.zeros(LABELS, np.float32)
    bias[0] = SURE
    return replace(made, bias=bias)
