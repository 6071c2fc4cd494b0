"""Processes that a command starts: a free port, a start that waits for an answer, a sure end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from costmodel.lifeline import Lifeline

START_S, GRACE_S = 120.0, 15.0
_LINES_SHOWN = 40
_LOOK_AGAIN_S = 0.1


class NotStarted(Exception):
    """A process ended, or did not answer in time; the message says what it said last."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str],
    ready: str | Callable[[], bool],
    log: Path,
    *,
    timeout_s: float = START_S,
    cores: Collection[int] | None = None,
    variables: Mapping[str, str] | None = None,
    **more: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends; enter the block when it is ready.

    A server of this project ends with this process, however that ends: it is given a lifeline.

    Args:
        command: what to run.
        ready: a URL that answers 200 then, or a function that says so.
        log: where its output goes.
        timeout_s: how long it may take.
        cores: what it keeps to; None: any.
        variables: of its environment, beside this process's.
        more: for `subprocess.Popen`. With `start_new_session` what it started ends with it.

    Raises:
        NotStarted: it ended, or was not ready in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with closing(Lifeline()) as lifeline:
        with log.open("wb") as stream:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **lifeline.variables, **(variables or {})},
                pass_fds=(lifeline.descriptor,),
                **more,
            )
        try:
            if cores is not None:
                os.sched_setaffinity(process.pid, cores)
            _wait(process, ready, log, timeout_s)
            yield process
        finally:
            stop(process)
            if more.get("start_new_session"):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def stop(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a process: asked first, killed when it has not ended after `grace_s` seconds."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """Let this process of a pool end when whoever started it has, however that ended.

    For the pool's `initializer`: a worker that waits for work holds both ends of its queue, and
    does not hear that nobody is left to give it any.
    """
    parent = parent_process()
    assert parent is not None, "a pool has started this process"

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def answers(url: str) -> bool:
    """Whether a URL answers 200 now."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait(
    process: subprocess.Popen[bytes],
    ready: str | Callable[[], bool],
    log: Path,
    timeout_s: float,
) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = lines[-1].removeprefix("Error: ") if lines else "it said nothing"
            error = NotStarted(
                f"a server exited with {process.returncode} at its start: {said} (log: {log})"
            )
            error.add_note("\n".join(lines[-_LINES_SHOWN:]))  # a traceback outlives the log
            raise error
        if answers(ready) if isinstance(ready, str) else ready():
            return
        time.sleep(_LOOK_AGAIN_S)
    raise NotStarted(f"a server was not ready {timeout_s:.0f} s after its start; see {log}")
