"""The Locust processes of one test: started together, watched, stopped together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from loadtests.errors import GeneratorFailed
from loadtests.generator.plan import (
    DIRECTORY_VARIABLE,
    PARENT_VARIABLE,
    WORKER_VARIABLE,
    WorkerPlan,
)

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
STARTUP_S = 120.0
GRACE_S = 30.0
HAND_OVER_S = 10.0
"""How long workers may take to stop and to write what they have."""
POLL_S = 0.1


class LocustProcesses:
    """One headless Locust process per plan; all of them are gone after `with`."""

    def __init__(self, plans: Sequence[WorkerPlan], more: Sequence[str] = ()) -> None:
        self._plans, self._more = plans, more
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            for plan in self._plans:
                self._processes.append(_start(plan, self._more))
        except BaseException:
            self._end(patience_s=0)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._end(patience_s=0 if kind else 5)

    def wait_for(self, done: Callable[[], bool], limit_s: float) -> None:
        """Wait until something is done.

        Raises:
            GeneratorFailed: a process ended before it was done, or the time is over.
        """
        deadline = time.monotonic() + limit_s
        while not done():
            for plan, process in zip(self._plans, self._processes, strict=True):
                if process.poll() is not None and not plan.is_done:
                    raise GeneratorFailed(_obituary(plan, process))
            if time.monotonic() > deadline:
                raise GeneratorFailed(
                    f"the load generator did not get ready or finish within {limit_s:.0f} s; "
                    "the machine may be overloaded, try a lower rate"
                )
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Let every process that lives hand over what it has; wait for that, but not for ever."""
        with contextlib.suppress(OSError):
            self._plans[0].write_stop()
        deadline = time.monotonic() + HAND_OVER_S
        while time.monotonic() < deadline and any(
            process.poll() is None and not plan.is_done
            for plan, process in zip(self._plans, self._processes, strict=True)
        ):
            time.sleep(POLL_S)

    def _end(self, patience_s: float) -> None:
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=patience_s)
            if process.poll() is None:
                process.kill()
                process.wait()


def _start(plan: WorkerPlan, more: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        DIRECTORY_VARIABLE: str(plan.directory),
        WORKER_VARIABLE: str(plan.worker),
        PARENT_VARIABLE: str(os.getpid()),
    }
    with _stderr_of(plan).open("wb") as stderr:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE)),
                *("--headless", "--host", "unused", "--skip-log-setup"),
                *("--only-summary", "--exit-code-on-error", "0"),
                *more,
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            # A terminal's Ctrl-C goes to every process of the group: the parent alone shall have it
            # and ask for what was counted.
            process_group=0,
        )


def _obituary(plan: WorkerPlan, process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    cause = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    lines = _stderr_of(plan).read_text(errors="replace").strip().splitlines()
    last = f": {lines[-1].strip()}" if lines else ""
    return (
        f"load generator process {plan.worker} {cause} before it was done{last}; "
        "the run does not count, start it again"
    )


def _stderr_of(plan: WorkerPlan) -> Path:
    return plan.directory / f"stderr-{plan.worker}.txt"
