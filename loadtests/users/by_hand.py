"""A load test that `locust` itself conducts: in one process, or the master of several."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gevent

from loadtests.errors import BadLoadSpec
from loadtests.figures.load_report import Cut, LoadReport, report_of
from loadtests.generator.plan import WorkerPlan
from loadtests.generator.schedule import Schedule
from loadtests.generator.session import Session, Stopwatch
from loadtests.generator.tallies import Tally, interval_s
from loadtests.inputs.rows import rows_of
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.users.open_loop import RequestFailed
from loadtests.users.run import SETTLE_S, is_answered

AHEAD_S = 0.5
"""Between the last user's birth and the first request."""


class LocalRun:
    """A test in this very process."""

    settle_s = SETTLE_S

    def __init__(self, environment: Any, spec: LoadSpec, slo: Slo, schedule: Schedule) -> None:
        self._environment, self.spec, self._slo = environment, spec, slo
        self.session = Session(spec, rows_of(spec), schedule, on_drop=self._show_drop)
        self._greenlets: list[gevent.Greenlet] = []

    @property
    def users(self) -> int:
        """As many as requests may be in flight."""
        return self.spec.concurrency

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and answered."""
        return is_answered(self.session)

    def begin(self) -> None:
        """All users are there: start the clock."""
        if not self._greenlets:
            start = time.monotonic() + AHEAD_S + self.spec.warmup_s
            work = (self.session.walk, self._measure_cpu)
            self._greenlets = [gevent.spawn(each, start) for each in work]

    def report(self) -> LoadReport:
        """Judge what was measured; a test that was stopped is judged as such."""
        over = self.is_over
        gevent.killall(self._greenlets)
        tally, cut = self.session.take_part(), None
        if not over:
            started_at = self.session.started_at or time.monotonic()
            measured_s = min(self.spec.duration_s, max(0.1, time.monotonic() - started_at))
            cut = Cut(why="it was stopped", measured_s=measured_s, unfinished=tally.settle())
        return report_of(self.spec, tally, self._slo, cut=cut)

    def _measure_cpu(self, start: float) -> None:
        stopwatch = Stopwatch(start, self.spec.duration_s, self.session.tally.interval_s)
        while not stopwatch.is_over:
            gevent.sleep(0.1)
            stopwatch.lap(self.session.tally)

    def _show_drop(self) -> None:
        show_drop(self._environment)


def show_drop(environment: Any) -> None:
    """Put an arrival that nobody was free to send into Locust's statistics, as a failure."""
    environment.events.request.fire(
        request_type="POST",
        name="(nobody was free to send)",
        response_time=None,
        response_length=0,
        exception=RequestFailed("dropped"),
        context={},
    )


def laid_out(spec: LoadSpec) -> Schedule:
    """Lay a schedule out in a process that Locust has not patched: numba compiles there.

    Raises:
        BadLoadSpec: it cannot be laid out, e.g. because nobody knows which inputs are hard.
    """
    with tempfile.TemporaryDirectory(prefix="raisehand-load-") as directory:
        plan = WorkerPlan(Path(directory))
        plan.write_spec(spec)
        command = [sys.executable, "-m", "loadtests.generator.plan", directory]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode == 2:
            raise BadLoadSpec(done.stdout.strip())
        done.check_returncode()
        return plan.read_schedule(1)


def empty_tally(spec: LoadSpec) -> Tally:
    """Return a tally that workers' parts are added to."""
    return Tally(interval_s(spec))
