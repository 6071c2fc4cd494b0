"""Start the demo's two processes, wait until they answer, and stop them by their own ids."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from router.process.lifeline import Lifeline


class ServerError(Exception):
    """A process of the demo did not come up; the message names its log."""

    exit_code = 2


def free_port() -> int:
    """Return a loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    arguments: Sequence[str],
    *,
    ready_url: str,
    log: Path,
    timeout_s: float = 120,
    cores: Collection[int] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `raisehand ARGUMENTS` until the block ends; enter the block when it answers 200.

    It keeps to `cores`, or to any, and has `variables` in its environment beside this one's.

    The server ends with this process: a router hears it by its lifeline, a teacher by its stdin
    (`--until-stdin-closes`).

    Raises:
        ServerError: it exited or did not answer in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    lifeline = Lifeline()  # however this process ends, a router ends with it
    with log.open("wb") as stream:
        process = subprocess.Popen(
            # As `raisehand` does, also where it is only on the path and not installed.
            [sys.executable, "-c", "from router.cli import run; run()", *arguments],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | lifeline.variables | (variables or {}),
            pass_fds=(lifeline.descriptor,),
        )
        try:
            if cores is not None:
                os.sched_setaffinity(process.pid, cores)
            _wait(process, ready_url, log, timeout_s)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if process.poll() is not None:
            tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise ServerError(
                f"a server exited with {process.returncode} before it was ready: "
                f"{' '.join(tail)} (whole log: {log})"
            )
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ServerError(f"{url} did not answer within {timeout_s:.0f} s; see {log}")
