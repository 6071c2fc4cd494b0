"""What a scenario needs and nobody runs yet: a fake teacher and a router, as processes of ours."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from costmodel.processes import NotStarted, free_port, running
from loadtests.errors import BadLoadSpec, DeadTarget
from loadtests.inputs.taskfile import LoadTask
from loadtests.servers.cores import Cores

STARTUP_S = 120.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A router that answers at `url`; `teacher_url` is None when the teacher is the task's own."""

    url: str
    teacher_url: str | None
    ledger: Path

    def reset_teacher(self) -> None:
        """Start the fake teacher's clock, so that its outages fall into the measured window."""
        if self.teacher_url is not None:
            _post(f"{self.teacher_url}/control/reset", {})

    def served(self) -> Mapping[str, int]:
        """Return what the fake teacher served and billed."""
        assert self.teacher_url is not None
        with urllib.request.urlopen(f"{self.teacher_url}/control/served", timeout=5) as reply:
            served: dict[str, int] = json.load(reply)
            return served


@contextlib.contextmanager
def running_stack(
    task: LoadTask,
    knobs: Mapping[str, Any] | None,
    *,
    bundle: str | None = None,
    port: int = 0,
    cores: Cores | None = None,
    serve: Sequence[str] = (),
) -> Iterator[Stack]:
    """Start a router for `task`, before it a fake teacher unless `knobs` is None; end both.

    The fake teacher says what the task's own said when it was labelled, else the inputs' gold
    labels where they have some. The ledger is a temporary file: load is not history. The router
    runs on `cores`, or on any, and is told `serve` as further options.

    Raises:
        BadLoadSpec: the port is taken, or the task cannot be served.
        DeadTarget: a process did not come up.
    """
    if port and not _is_free(port):
        raise BadLoadSpec(f"port {port} is in use; give another --port, or 0 for any free one")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raisehand-stack-")))
        teacher_url = None
        path = folder / "task.yaml"
        content = dict(task.raw)
        if knobs is None:
            content = task.with_teacher(str(task.raw["teacher"]["base_url"]), task.teacher.mode)
        else:
            teacher_url = f"http://127.0.0.1:{free_port()}"
            command = _teacher_command(task, knobs, teacher_url)
            stack.enter_context(_running(command, f"{teacher_url}/health", folder / "teacher.log"))
            mode = task.teacher.mode if task.teacher.mode in ("classify", "chat") else "classify"
            content = task.with_teacher(teacher_url, mode)
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")
        url = f"http://127.0.0.1:{port or free_port()}"
        ledger = folder / "ledger.sqlite"
        command = [
            *(str(Path(sys.executable).parent / "raisehand"), "serve", "--task", str(path)),
            *("--port", url.rpartition(":")[2], "--ledger", str(ledger)),
            *(("--bundle", bundle) if bundle else ()),
            *serve,
        ]
        stack.enter_context(_running(command, f"{url}/readyz", folder / "router.log", cores))
        yield Stack(url, teacher_url, ledger)


def _teacher_command(task: LoadTask, knobs: Mapping[str, Any], url: str) -> list[str]:
    command = [sys.executable, "-m", "loadtests.commands.fake_teacher"]
    command += ["--port", url.rpartition(":")[2], "--model", task.teacher.model]
    for word in task.words:
        command += ["--label", word]
    user = str(task.teacher.prompt.get("user", "{text}"))
    for name, value in {"user": user, **knobs}.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    path, labelled = task.inside(task.inputs.path), task.inside(task.work_dir) / "labels.npz"
    if labelled.exists():
        command += ["--references", str(labelled)]
    elif task.inputs.gold:
        inputs = task.inputs
        command += ["--references", str(path), "--text", inputs.text, "--answer", task.inputs.gold]
        command += ["--encoding", inputs.encoding]
        command += ["--delimiter", inputs.delimiter] if inputs.delimiter else []
        for name in task.labels:
            command += ["--means", name]
    return command


@contextlib.contextmanager
def _running(
    command: Sequence[str], ready_url: str, log: Path, cores: Cores | None = None
) -> Iterator[None]:
    try:
        # Of its own group: a terminal's Ctrl-C must not end the server before the test has ended.
        with running(
            command, ready_url, log, timeout_s=STARTUP_S, cores=cores, process_group=0
        ):  # fmt: skip
            yield
    except NotStarted as error:
        raise DeadTarget(str(error)) from None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _post(url: str, body: object) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5):
        pass
