"""One load test in one process: what leaves when, who sends it, and what was counted.

The schedule is walked by the clock whatever the target does. Each arrival goes to a user that is
free at its instant, for its tasks; where one surface is asked and nothing else (`send_alone`) it
leaves at once, without a user. Latency counts from the instant. An arrival that finds nobody free
is a drop, and a drop voids the run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import gevent
from gevent.event import AsyncResult
from gevent.queue import SimpleQueue

from loadtests.generator.connection import Connections
from loadtests.generator.outcome import outcome_of
from loadtests.generator.reply import HttpReply, RequestLost
from loadtests.generator.sample_file import SampleFile
from loadtests.generator.schedule import Schedule
from loadtests.generator.tallies import RequestOutcome, Tally, interval_s
from loadtests.generator.timer import Timer
from loadtests.inputs.route import route_of
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec, Surface
from loadtests.inputs.surface import BATCH_TEXTS, PATHS, body_of
from loadtests.inputs.target import request_headers

SENDS_BEFORE_YIELD = 16
SHORTEST_SLEEP_S = 0.0002
"""A timer costs 30 µs: above 5,000 rps arrivals leave in twos and threes, this late."""


class ScheduledArrival(NamedTuple):
    """One request to send: seconds from the measured window's start, and a position in the rows."""

    offset_s: float
    row: int


class Session:
    """One process's share of a load test."""

    def __init__(
        self,
        spec: LoadSpec,
        rows: Sequence[Row],
        schedule: Schedule,
        samples: SampleFile | None = None,
        on_drop: Callable[[], None] = lambda: None,
        worker: int = 0,
    ) -> None:
        self.spec, self._rows, self._schedule = spec, rows, schedule
        self._samples, self._on_drop, self._worker = samples, on_drop, worker
        self.tally = Tally(interval_s(spec))
        self.started_at: float | None = None
        """CLOCK_MONOTONIC instant of the measured window; None before it is known."""
        self.walked = False
        self.flying = self.answered = self.failed = self.dropped = 0
        self._free: list[SimpleQueue[ScheduledArrival]] = []
        """Of users that wait; the last one to come is the next to go, while its stack is warm."""
        self._bodies: dict[Surface, list[bytes]] = {}
        self._lines: dict[Surface, Connections] = {}
        self._alone: Surface | None = None
        self._then: Callable[[Surface, RequestOutcome], None] = lambda _surface, _outcome: None
        self._headers, self._route = request_headers(spec), route_of(spec)

    def prepare(self, surface: Surface) -> None:
        """Make every request body of a surface, so that sending costs as little as can be."""
        self._bodies[surface] = [
            body_of(self.spec, row.text, surface, others)
            for row, others in zip(self._rows, _groups(self._rows, surface), strict=True)
        ]
        way = self.spec.client
        self._lines[surface] = Connections(self._route, PATHS[surface], self._headers, way)

    def send_alone(self, then: Callable[[Surface, RequestOutcome], None]) -> None:
        """Send every arrival to the spec's surface without a user; `then` is told of each."""
        self._alone, self._then = self.spec.surface, then
        self.prepare(self._alone)

    def next_turn(self, turns: SimpleQueue[ScheduledArrival]) -> ScheduledArrival:
        """Wait for an arrival; called by a user that has nothing to do, with a queue of its own."""
        self._free.append(turns)
        arrival: ScheduledArrival = turns.get()
        return arrival

    def walk(self, started_at: float) -> None:
        """Hand out the whole schedule, each arrival at its instant."""
        self.started_at = started_at
        timer = Timer()
        try:
            if self.spec.closed_loop is None:
                self._walk(timer, started_at)
            else:
                self._walk_in_circles(self.spec.closed_loop, timer, started_at)
        finally:
            timer.close()
        self.walked = True

    def _walk(self, timer: Timer, start: float) -> None:
        unyielded = 0
        offsets, rows = self._schedule.offsets_s.tolist(), self._schedule.rows.tolist()
        for offset_s, row in zip(offsets, rows, strict=True):
            due, now = start + offset_s, time.monotonic()
            if due > now:
                timer.sleep_until(max(due, now + SHORTEST_SLEEP_S))
                unyielded = 0
            elif unyielded >= SENDS_BEFORE_YIELD:
                gevent.sleep(0)
                unyielded = 0
            self._hand_out(ScheduledArrival(offset_s, row))
            unyielded += 1

    def _walk_in_circles(self, clients: int, timer: Timer, start: float) -> None:
        """Let each client send anew when it is answered, until the window is over."""
        assert self._alone is not None
        timer.sleep_until(start - self.spec.warmup_s)
        end, then = start + self.spec.duration_s, self._then
        rows = itertools.cycle(self._schedule.rows.tolist())

        def next_one() -> None:
            now = time.monotonic()
            if now < end:
                self._hand_out(ScheduledArrival(now - start, next(rows)))

        def answered(surface: Surface, outcome: RequestOutcome) -> None:
            next_one()
            then(surface, outcome)

        self._then = answered
        for _ in range(self._share_of(clients)):
            next_one()
        timer.sleep_until(end)

    def _share_of(self, clients: int) -> int:
        """Return this process's clients: the first processes have one more where some are left."""
        each, left = divmod(clients, self.spec.processes)
        return each + (self._worker < left)

    def _hand_out(self, arrival: ScheduledArrival) -> None:
        self.tally.arrive(arrival.offset_s)
        if self._alone is not None and self.flying < self.spec.concurrency:
            self.flying += 1
            self._launch(self._alone, arrival, partial(self._then, self._alone))
        elif self._free:
            self.flying += 1
            self._free.pop().put(arrival)
        else:
            self.dropped += 1
            self.tally.drop(arrival.offset_s)
            self._on_drop()

    def ask(self, surface: Surface, arrival: ScheduledArrival) -> RequestOutcome:
        """Send one request, count it and return what became of it."""
        ended: AsyncResult[RequestOutcome] = AsyncResult()
        self._launch(surface, arrival, ended.set)
        outcome: RequestOutcome = ended.get()
        return outcome

    def _launch(
        self, surface: Surface, arrival: ScheduledArrival, then: Callable[[RequestOutcome], None]
    ) -> None:
        assert self.started_at is not None
        due = self.started_at + arrival.offset_s
        lag_s = time.monotonic() - due
        if surface not in self._bodies:
            self.prepare(surface)
        self._lines[surface].send(
            self._bodies[surface][arrival.row],
            # The time-out, too, counts from the instant: a user waits from then on.
            due + self.spec.timeout_s,
            partial(self._land, surface, arrival, due, lag_s, then),
            timed=surface == "chat-stream",
        )

    def _land(
        self,
        surface: Surface,
        arrival: ScheduledArrival,
        due: float,
        lag_s: float,
        then: Callable[[RequestOutcome], None],
        found: HttpReply | RequestLost,
    ) -> None:
        latency_s = time.monotonic() - due
        index = self._rows[arrival.row].index
        if isinstance(found, RequestLost):
            outcome = RequestOutcome(arrival.offset_s, index, lag_s, latency_s, 0, found.kind)
        else:
            outcome = outcome_of(surface, found, arrival.offset_s, index, lag_s, latency_s, due)
        self._count(outcome)
        then(outcome)

    def _count(self, outcome: RequestOutcome) -> None:
        self.flying -= 1
        self.tally.record(outcome, self.spec)
        if outcome.failure is None:
            self.answered += 1
        else:
            self.failed += 1
        if self._samples is not None and outcome.offset_s >= 0:
            self._samples.write(outcome)

    def take_part(self) -> Tally:
        """Return what was counted since the last part, and begin the next."""
        part, self.tally = self.tally, Tally(self.tally.interval_s)
        for line in self._lines.values():
            part.reopened += line.reopened
            line.reopened = 0
        if self._samples is not None:
            self._samples.flush()
            if self._samples.trouble:
                part.troubles.add(self._samples.trouble)
        return part

    def put_back(self, part: Tally) -> None:
        """Take back a part that could not be handed over."""
        part.add(self.tally)
        self.tally = part


def _groups(rows: Sequence[Row], surface: Surface) -> list[list[str]]:
    """Return, for each row, the texts that are asked together with it."""
    if surface != "batch":
        return [[] for _ in rows]
    texts = [row.text for row in rows]
    return [[texts[(k + j) % len(texts)] for j in range(1, BATCH_TEXTS)] for k in range(len(texts))]


class Stopwatch:
    """The share of a core that this process used, interval by interval of the measured window."""

    def __init__(self, start: float, duration_s: float, interval_s: float) -> None:
        self._start, self._duration_s, self._interval_s = start, duration_s, interval_s
        self._interval, self._ends = -1, start
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def lap(self, tally: Tally) -> bool:
        """Note the interval that has ended, if one has; return whether one has."""
        now = time.monotonic()
        if now < self._ends or self.is_over:
            return False
        used = time.process_time()
        ended = self._interval >= 0
        if ended:
            share = (used - self._cpu) / (now - self._wall)
            tally.cpu[self._interval] = max(share, tally.cpu.get(self._interval, 0.0))
        self._interval += 1
        self._cpu, self._wall = used, now
        next_end = self._start + (self._interval + 1) * self._interval_s
        self._ends = min(next_end, self._start + self._duration_s)
        return ended

    @property
    def is_over(self) -> bool:
        """Whether the window has ended and its last interval was noted."""
        return self._interval * self._interval_s >= self._duration_s
