"""A process that `raisehand loadtest` started: files in one directory tell it what to do."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import gevent

from loadtests.generator.plan import (
    DIRECTORY_VARIABLE,
    PARENT_VARIABLE,
    WORKER_VARIABLE,
    WorkerPlan,
)
from loadtests.generator.sample_file import SampleFile
from loadtests.generator.session import Session, Stopwatch
from loadtests.inputs.rows import rows_of
from loadtests.users.open_loop import fire
from loadtests.users.run import SETTLE_S, is_answered

TICK_S = 0.1
"""How soon a worker notices that the test is to end."""
PROGRESS_S = 0.5
LAST_WAIT_S = 1.0
"""A test that ends before its time waits so long for the requests in flight."""


def is_planned() -> bool:
    """Whether a parent has laid this process's work out."""
    return DIRECTORY_VARIABLE in os.environ


class PlannedRun:
    """One worker's share of a plan."""

    def __init__(self, environment: Any) -> None:
        self._plan = WorkerPlan(
            Path(os.environ[DIRECTORY_VARIABLE]), int(os.environ[WORKER_VARIABLE])
        )
        self._parent = int(os.environ[PARENT_VARIABLE])
        self.spec = self._plan.read_spec()
        samples = SampleFile(self._plan.samples) if self.spec.samples is not None else None
        schedule = self._plan.read_schedule(self.spec.processes)
        self.session = Session(
            self.spec, rows_of(self.spec), schedule, samples, worker=self._plan.worker
        )
        self.session.send_alone(partial(fire, environment))
        self.is_over = False
        self.settle_s = SETTLE_S if self.spec.locust else 0.0
        environment.events.spawning_complete.add_listener(self._begin)

    @property
    def users(self) -> int:
        """One, for Locust's sake: requests leave without a user's greenlet."""
        return 1

    def _begin(self, **_: Any) -> None:
        gevent.spawn(self._conduct)

    def _conduct(self) -> None:
        self._plan.write_ready()
        while (start := self._plan.read_start()) is None:
            if self._is_to_end():
                self.is_over = True
                return
            gevent.sleep(0.01)
        walking = gevent.spawn(self.session.walk, start)
        self._watch(start, walking)
        walking.kill()
        self._hand_over()
        self._plan.write_done()
        self.is_over = True

    def _watch(self, start: float, walking: Any) -> None:
        """Hand over what was counted by interval, until all is answered or the end is asked for."""
        stopwatch = Stopwatch(start, self.spec.duration_s, self.session.tally.interval_s)
        told = time.monotonic()
        while not is_answered(self.session):
            gevent.sleep(TICK_S)
            if walking.ready():
                walking.get()  # what broke the walking breaks the worker
            if self._is_to_end():
                walking.kill()
                self._wait_a_little()
                return
            with contextlib.suppress(OSError):  # what a full disk does not take now it may later
                if time.monotonic() - told >= PROGRESS_S:
                    self._write_progress()
                    told = time.monotonic()
                if stopwatch.lap(self.session.tally):
                    self._hand_over()
        while not stopwatch.is_over:
            gevent.sleep(TICK_S)
            stopwatch.lap(self.session.tally)

    def _is_to_end(self) -> bool:
        """Whether the parent says so, or is no more."""
        return self._plan.is_stopped or os.getppid() != self._parent

    def _wait_a_little(self) -> None:
        last = time.monotonic() + LAST_WAIT_S
        while self.session.flying and time.monotonic() < last:
            gevent.sleep(0.01)

    def _hand_over(self) -> None:
        """Give the parent what was counted since the last time.

        Raises:
            OSError: it could not be written; it is kept for the next time.
        """
        part = self.session.take_part()
        try:
            self._plan.write_part(part)
        except OSError:
            self.session.put_back(part)
            raise

    def _write_progress(self) -> None:
        session = self.session
        self._plan.write_progress(
            answered=session.answered,
            failed=session.failed,
            dropped=session.dropped,
            flying=session.flying,
        )
