"""A master and its workers share one schedule: each gets its slice, and the clocks are compared.

The master lays the schedule out and sends each worker its arrivals with the texts they carry, so
that workers need no inputs of their own. Machines have clocks of their own: a worker asks the
master for the time, five times, and takes the offset of the quickest answer.
"""

from __future__ import annotations

import time
from typing import Any

import gevent
import numpy as np

from loadtests.figures.load_report import Cut, LoadReport, report_of
from loadtests.generator.schedule import Schedule
from loadtests.generator.session import Session, Stopwatch
from loadtests.generator.tallies import Tally
from loadtests.inputs.rows import Row, rows_of
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.users.by_hand import AHEAD_S, empty_tally, show_drop
from loadtests.users.run import DRAIN_S, SETTLE_S, is_answered

SHARE, PING, PONG = "raisehand-share", "raisehand-ping", "raisehand-pong"
READY, GO, DONE = "raisehand-ready", "raisehand-go", "raisehand-done"
PART = "raisehand"
"""Field of Locust's own worker reports: what was counted since the last."""
PINGS = 5


class MasterRun:
    """The test as the master conducts it; it sends no requests itself."""

    session: Session
    settle_s = SETTLE_S

    def __init__(self, environment: Any, spec: LoadSpec, slo: Slo, schedule: Schedule) -> None:
        self._runner, self.spec, self._slo = environment.runner, spec, slo
        self._tally = empty_tally(spec)
        self._workers = sorted(client.id for client in self._runner.clients.ready)
        self._ready: set[str] = set()
        self._done: set[str] = set()
        self._settled: set[str] = set()
        """Workers whose own statistics, too, have come after they were done."""
        self._started_at: float | None = None
        rows = rows_of(spec)
        for k, client_id in enumerate(self._workers):
            share = schedule.share(k, len(self._workers))
            self._runner.send_message(SHARE, _packed(spec, share, rows), client_id)

    @property
    def users(self) -> int:
        """As many as requests may be in flight, all workers together."""
        return self.spec.concurrency * len(self._workers)

    @property
    def is_over(self) -> bool:
        """Whether every worker is done, or one of them is lost."""
        if self._settled.issuperset(self._workers):
            return True
        if self._runner.worker_count < len(self._workers):
            self._tally.troubles.add(
                f"{self._runner.worker_count} of {len(self._workers)} workers were left at the end"
            )
            return True
        limit_s = self.spec.duration_s + self.spec.timeout_s + 2 * DRAIN_S
        return self._started_at is not None and time.monotonic() > self._started_at + limit_s

    def on_ready(self, client_id: str) -> None:
        """Count a worker that could send; start the clock with the last of them."""
        self._ready.add(client_id)
        if self._started_at is None and self._ready.issuperset(self._workers):
            self._started_at = time.monotonic() + AHEAD_S + self.spec.warmup_s
            self._runner.send_message(GO, {"start": self._started_at})

    def on_part(self, content: Any) -> None:
        """Take in what a worker counted."""
        self._tally.add(Tally.load(content))

    def on_report(self, client_id: str) -> None:
        """Notice one of Locust's own reports: it sends them every three seconds."""
        if client_id in self._done:
            self._settled.add(client_id)

    def on_done(self, client_id: str) -> None:
        """Count a worker that has sent and reported everything."""
        self._done.add(client_id)

    def report(self) -> LoadReport:
        """Judge what all workers counted."""
        cut = None
        if not self._done.issuperset(self._workers):
            started_at = self._started_at or time.monotonic()
            measured_s = min(self.spec.duration_s, max(0.1, time.monotonic() - started_at))
            why = "a worker was lost" if self._tally.troubles else "it was stopped"
            cut = Cut(why=why, measured_s=measured_s, unfinished=self._tally.settle())
        return report_of(self.spec, self._tally, self._slo, cut=cut)


class WorkerRun:
    """The test as a worker takes part in it."""

    settle_s = SETTLE_S

    def __init__(self, environment: Any, share: Any) -> None:
        self._environment, self._runner = environment, environment.runner
        self.spec = LoadSpec.model_validate_json(share["spec"])
        rows = [
            Row(index, text) for index, text in zip(share["indices"], share["texts"], strict=True)
        ]
        schedule = Schedule(
            np.frombuffer(share["offsets"], dtype=np.float64),
            np.frombuffer(share["rows"], dtype=np.int64),
        )
        self.session = Session(
            self.spec, rows, schedule, on_drop=lambda: show_drop(self._environment)
        )
        self._pongs: list[tuple[float, float]] = []
        """(round trip, master's clock minus ours), seconds."""
        self._ready = self._gone = False
        self._walking: gevent.Greenlet | None = None

    @property
    def users(self) -> int:
        """The master decides how many there are."""
        return self.spec.concurrency

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and answered."""
        return is_answered(self.session)

    def begin(self) -> None:
        """All users are there: compare clocks, then say so."""
        if not self._ready:
            self._ready = True
            self._ping()

    def on_pong(self, asked_at: float, masters: float) -> None:
        """Take one comparison of the clocks; after the last say that this worker is ready."""
        now = time.monotonic()
        self._pongs.append((now - asked_at, masters - (asked_at + now) / 2))
        if len(self._pongs) < PINGS:
            self._ping()
        else:
            self._runner.send_message(READY, None)

    def on_go(self, start: float) -> None:
        """Begin at an instant of the master's clock."""
        _, offset_s = min(self._pongs)
        if not self._gone:
            self._gone = True
            gevent.spawn(self._conduct, start - offset_s)

    def stop(self) -> None:
        """Send nothing more: the master has ended the test."""
        if self._walking is not None:
            self._walking.kill()

    def take_part(self) -> dict[str, object]:
        """Return what was counted since the last report."""
        return self.session.take_part().dump()

    def _ping(self) -> None:
        self._runner.send_message(PING, {"at": time.monotonic()})

    def _conduct(self, start: float) -> None:
        self._walking = gevent.spawn(self.session.walk, start)
        stopwatch = Stopwatch(start, self.spec.duration_s, self.session.tally.interval_s)
        while not (is_answered(self.session) and stopwatch.is_over):
            gevent.sleep(0.1)
            stopwatch.lap(self.session.tally)
        self._runner.send_message(DONE, {PART: self.take_part()})


def _packed(spec: LoadSpec, share: Schedule, rows: list[Row]) -> dict[str, Any]:
    """Return a worker's share with only the texts that it sends."""
    used, positions = np.unique(share.rows, return_inverse=True)
    return {
        "spec": spec.model_dump_json(),
        "offsets": share.offsets_s.tobytes(),
        "rows": positions.astype(np.int64).tobytes(),
        "indices": [rows[k].index for k in used],
        "texts": [rows[k].text for k in used],
    }
