"""Locust users that send on a schedule, whatever the target does: an open loop.

Locust's own pacing is a closed loop: a user that waits for a slow answer does not send, and the
requests it did not send are in no statistic. Here one user per process walks the schedule and
hands each arrival to a pool of greenlets that grows as it must; latency counts from the scheduled
instant. An arrival that finds `concurrency` requests in flight is a drop, and a drop voids the run.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gevent
from gevent.event import Event
from gevent.queue import SimpleQueue
from locust import User, constant, task
from locust.exception import StopUser

from loadtests.generator.connection import ConnectionLost, Connections, Reply
from loadtests.generator.outcome import outcome_of
from loadtests.generator.plan import DIRECTORY_VARIABLE, WORKER_VARIABLE, Plan
from loadtests.generator.sample_file import SampleFile
from loadtests.generator.schedule import Schedule
from loadtests.generator.surface import PATHS, body_of
from loadtests.generator.tallies import Outcome, Tally, interval_s
from loadtests.generator.timer import Timer
from loadtests.inputs.rows import rows_of
from loadtests.inputs.spec import LoadSpec, load_spec

SENDS_BEFORE_YIELD = 16
SHORTEST_SLEEP_S = 0.0002
"""A timer costs 30 µs: above 5,000 rps arrivals leave in twos and threes, this late."""
GC_THRESHOLD = (50_000, 20, 100)
"""A request leaves no cycles behind; the default of 700 cost 4 % of the generator's core."""
TICK_S = 0.1
"""How soon a worker notices that the test is to end."""
PROGRESS_S = 0.5
DRAIN_S = 10.0
"""Every request ends at its time-out; a starved machine may need longer to notice."""
LAST_WAIT_S = 1.0
"""A test that ends before its time waits so long for the requests in flight."""
OPTIONS = {
    "inputs": "table of real inputs",
    "text": "column that holds the text",
    "surface": "classify, chat, chat-stream or systemone",
    "arrivals": "poisson, constant, gamma or replay",
    "rate": "requests per second",
    "duration_s": "seconds",
}
"""What Locust's own command line and web UI ask for when `raisehand loadtest` did not start it."""


class OpenLoopUser(User):  # type: ignore[misc]  # locust is untyped
    """One worker's share of the schedule, sent through one pool of connections."""

    fixed_count = 1
    wait_time = constant(0)

    def on_start(self) -> None:
        """Prepare every request body, so that sending costs as little as can be."""
        self.plan = None
        if DIRECTORY_VARIABLE in os.environ:
            directory, worker = os.environ[DIRECTORY_VARIABLE], os.environ[WORKER_VARIABLE]
            self.plan = Plan(Path(directory), int(worker))
        self.spec = self.plan.read_spec() if self.plan else self._spec_of_options()
        rows = rows_of(self.spec)
        self.row_indices = [row.index for row in rows]
        self.bodies = [body_of(self.spec, row.text) for row in rows]
        self.connections = Connections(self.spec.url, PATHS[self.spec.surface], headers(self.spec))
        self.tally = Tally(interval_s(self.spec))
        self.queue: SimpleQueue[tuple[float, int]] = SimpleQueue()
        self.senders = self.flying = self.answered = self.failed = self.dropped = 0
        self.samples: SampleFile | None = None
        if self.plan and self.spec.samples is not None:
            self.samples = SampleFile(self.plan.samples)
        self.schedule = (
            self.plan.read_schedule(self.spec.processes) if self.plan else laid_out(self.spec)
        )
        self.streamed = self.spec.surface == "chat-stream"
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)

    @task  # type: ignore[untyped-decorator]
    def drive(self) -> None:
        """Walk the schedule, wait for what is in flight, hand over the tally, end the process."""
        if self.plan is None:
            self._send_all(time.monotonic())
            raise StopUser
        self.plan.write_ready()
        while (start := self.plan.read_start()) is None:
            gevent.sleep(0.01)
        self.stopping = Event()
        sending = gevent.spawn(self._send_all, start)
        watcher = gevent.spawn(self._watch, start)
        gevent.wait([sending, self.stopping], count=1)
        if sending.ready():
            sending.get()  # what broke the sending breaks the worker
        sending.kill()
        self._wait_for_answers()
        watcher.join()
        self._hand_over()
        self.plan.write_done()
        gevent.spawn(self.environment.runner.quit)
        gevent.sleep(60)

    def _wait_for_answers(self) -> None:
        """Wait for the requests in flight; not for long where the parent asks for the end."""
        assert self.plan is not None
        now = time.monotonic()
        deadline, last = now + self.spec.timeout_s + DRAIN_S, None
        while self.flying and now < (last or deadline):
            gevent.sleep(0.01)
            now = time.monotonic()
            if last is None and self.plan.is_stopped:
                last = now + LAST_WAIT_S

    def _hand_over(self) -> None:
        """Give the parent what was counted since the last time.

        Raises:
            OSError: it could not be written; it is kept for the next time.
        """
        assert self.plan is not None
        part, self.tally = self.tally, Tally(self.tally.interval_s)
        part.reopened, self.connections.reopened = self.connections.reopened, 0
        if self.samples is not None:
            self.samples.flush()
            if self.samples.trouble:
                part.troubles.add(self.samples.trouble)
        try:
            self.plan.write_part(part)
        except OSError:
            self.tally = part
            raise

    def _send_all(self, start: float) -> None:
        self.start = start
        timer = Timer()
        try:
            self._walk(timer)
        finally:
            timer.close()

    def _walk(self, timer: Timer) -> None:
        start, unyielded = self.start, 0
        offsets, rows = self.schedule.offsets_s.tolist(), self.schedule.rows.tolist()
        for offset_s, row in zip(offsets, rows, strict=True):
            due, now = start + offset_s, time.monotonic()
            if due > now:
                timer.sleep_until(max(due, now + SHORTEST_SLEEP_S))
                unyielded = 0
            elif unyielded >= SENDS_BEFORE_YIELD:
                gevent.sleep(0)
                unyielded = 0
            self.tally.arrive(offset_s)
            if self.flying >= self.spec.concurrency:
                self.dropped += 1
                self.tally.drop(offset_s)
                continue
            self.flying += 1
            if self.flying > self.senders:
                self.senders += 1
                gevent.spawn(self._send_forever)
            self.queue.put((offset_s, row))
            unyielded += 1

    def _send_forever(self) -> None:
        try:
            while True:
                offset_s, row = self.queue.get()
                try:
                    self._send(offset_s, row)
                finally:
                    self.flying -= 1
        finally:
            self.senders -= 1

    def _send(self, offset_s: float, row: int) -> None:
        due = self.start + offset_s
        lag_s = time.monotonic() - due
        failure: str | None = None
        reply: Reply | None = None
        try:
            # The time-out, too, counts from the instant: a user waits from then on.
            left_s = max(0.001, self.spec.timeout_s - lag_s)
            reply = self.connections.post(self.bodies[row], left_s, timed=self.streamed)
        except gevent.Timeout:
            failure = "timeout"
        except ConnectionLost:
            failure = "connection"
        latency_s = time.monotonic() - due
        index = self.row_indices[row]
        outcome = (
            Outcome(offset_s, index, lag_s, latency_s, 0, failure)
            if reply is None
            else outcome_of(self.spec.surface, reply, offset_s, index, lag_s, latency_s, due)
        )
        self.tally.record(outcome, self.spec)
        if outcome.failure is None:
            self.answered += 1
        else:
            self.failed += 1
        if self.plan is None:
            self._show(outcome)
        if self.samples is not None and outcome.offset_s >= 0:
            self.samples.write(outcome)

    def _show(self, outcome: Outcome) -> None:
        """Put one request into Locust's own statistics, for its web UI, by route."""
        self.environment.events.request.fire(
            request_type="POST",
            name=f"{PATHS[self.spec.surface]} {outcome.route}",
            response_time=1000 * outcome.latency_s,
            response_length=0,
            exception=RuntimeError(outcome.failure) if outcome.failure else None,
            context={},
        )

    def _spec_of_options(self) -> LoadSpec:
        """Return what the options of `locust -f loadtests/locustfile.py` ask for."""
        told = vars(self.environment.parsed_options)
        given = {name: told[name] for name in OPTIONS if told.get(name)}
        return load_spec(url=self.host, warmup_s=0, **given)

    def _watch(self, start: float) -> None:
        """Hand over what was counted in each interval of the window; tell how far it is.

        It ends with the window, or when the parent asks for the end or is gone.
        """
        assert self.plan is not None
        end = start + self.spec.duration_s
        cpu, wall, told = time.process_time(), time.monotonic(), time.monotonic()
        interval, ends = 0, start
        parent = os.getppid()
        while True:
            gevent.sleep(TICK_S)
            now = time.monotonic()
            if self.plan.is_stopped or os.getppid() != parent:
                self.stopping.set()
                return
            with contextlib.suppress(OSError):  # what a full disk does not take now it may later
                if now - told >= PROGRESS_S:
                    self._write_progress()
                    told = now
                if now < ends:
                    continue
                used = time.process_time()
                if ends > start:
                    self.tally.cpu[interval] = (used - cpu) / (now - wall)
                    interval += 1
                    self._hand_over()
            if ends >= end:
                return
            cpu, wall = used, now
            ends = min(start + (interval + 1) * self.tally.interval_s, end)

    def _write_progress(self) -> None:
        assert self.plan is not None
        self.plan.write_progress(
            answered=self.answered, failed=self.failed, dropped=self.dropped, flying=self.flying
        )


def laid_out(spec: LoadSpec) -> Schedule:
    """Lay a schedule out in a process that Locust has not patched: numba compiles there."""
    with tempfile.TemporaryDirectory(prefix="raisehand-load-") as directory:
        plan = Plan(Path(directory))
        plan.write_spec(spec)
        subprocess.run([sys.executable, "-m", "loadtests.generator.plan", directory], check=True)
        return plan.read_schedule(1)


def headers(spec: LoadSpec) -> dict[str, str]:
    """Return the request headers that the spec asks for."""
    if spec.api_key_env is None:
        return {}
    return {"authorization": f"Bearer {os.environ.get(spec.api_key_env, '')}"}
