"""What an SRE is paged by: Prometheus metrics, bound once, no user text in a label."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.ledger.entry import Entry
from router.policy import Reason, Route
from router.teacher.bill import Outcome
from router.teacher.health import AttemptObserver
from router.telemetry.counters import (
    TEACHER_DURATION,
    CostTally,
    FormerNames,
    RequestTally,
    Spent,
    StatusTally,
)

log = logging.getLogger(__name__)
# The client library adds to each counter the moment at which it began: no reader of ours asks.
disable_created_metrics()  # type: ignore[no-untyped-call]
REQUEST_SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
TEACHER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts every entry and every attempt on the teacher.

    Labels are bounded: task names come from the configuration, routes, reasons and outcomes from
    enumerations.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._told: set[tuple[str, str]] = set()
        self._unmatched = Counter(
            "raisehand_unmatched_total",
            "Chat completions for a task's model that no student could answer, by what stood "
            "against it; the teacher was asked at its full price.",
            ("why",),
            registry=registry,
        )
        self.tally = RequestTally(REQUEST_SECONDS)
        """Counts by task, route and reason, and latencies by route."""
        registry.register(self.tally)
        self._statuses = StatusTally()
        registry.register(self._statuses)
        self.status = self._statuses.add
        """Count an HTTP answer by its status."""
        self._cost = CostTally()
        registry.register(self._cost)
        self._teacher_only = Counter(
            "raisehand_teacher_only_usd_total",
            "US dollars that the same requests would have cost at the teacher alone: each audit of "
            "a kept answer counts for 1 / its propensity.",
            ("task",),
            registry=registry,
        )
        self._unpriced = Counter(
            "raisehand_unpriced_requests_total",
            "Requests of which a part has no known price; their cost is in no other metric.",
            ("task",),
            registry=registry,
        )
        self._audited = Counter(
            "raisehand_audited_requests_total",
            "Kept answers drawn for a shadow audit.",
            ("task",),
            registry=registry,
        )
        self._tokens = Counter(
            "raisehand_teacher_tokens_total",
            "Tokens billed by the teacher, failed and cancelled attempts included.",
            ("task", "kind"),
            registry=registry,
        )
        self._attempts = Counter(
            "raisehand_teacher_attempts_total",
            "Attempts on the teacher by how each one ended.",
            ("task", "outcome"),
            registry=registry,
        )
        self._attempt_seconds = Histogram(
            TEACHER_DURATION,
            "Seconds of one attempt on the teacher, whichever way it ended.",
            ("task",),
            buckets=TEACHER_SECONDS,
            registry=registry,
        )
        registry.register(FormerNames(self.tally, self._attempt_seconds))
        self._by_task: dict[str, _Meters] = {}
        self._turned_away = Counter(
            "raisehand_turned_away_total",
            "Requests turned away at the door, by the kind of refusal.",
            ("kind",),
            registry=registry,
        )

    def unmatched(self, why: str, field: str) -> None:
        """Count a chat completion that went past the students; log each field once."""
        self._unmatched.labels(why).inc()
        if (why, field) not in self._told:
            self._told.add((why, field))
            log.warning(
                "chat completions pass the student by: %s %s; see docs/operations.md",
                why,
                field,
            )

    def observe(self, entry: Entry) -> None:
        """Count one request."""
        self.tally.add(entry.task, entry.route, entry.reason, entry.latency_ms / 1000.0)
        self.pay(entry)

    def pay(self, entry: Entry) -> None:
        """Count what an entry cost, whether or not it is a request."""
        meters = self._by_task.get(entry.task) or self._of(entry.task)
        if entry.student_usd is None or entry.teacher_usd is None:
            meters.unpriced.inc()
        if entry.student_usd:
            meters.student.usd += entry.student_usd
        if entry.attempts:
            if entry.teacher_usd:
                meters.teacher.usd += entry.teacher_usd
                meters.teacher_only.inc(_alone(entry))
            meters.input.inc(entry.input_tokens)
            meters.output.inc(entry.output_tokens)
        if entry.audited:
            meters.audited.inc()

    def attempts_of(self, task: str) -> AttemptObserver:
        """Return what counts the attempts on a task's teacher."""
        meters = self._of(task)

        def attempt(outcome: Outcome, seconds: float) -> None:
            meters.attempts[outcome].inc()
            meters.attempt_seconds.observe(seconds)

        return attempt

    def _of(self, task: str) -> _Meters:
        meters = self._by_task.get(task)
        if meters is None:
            meters = self._by_task[task] = _Meters(
                student=self._cost.of(task, "student"),
                teacher=self._cost.of(task, "teacher"),
                teacher_only=self._teacher_only.labels(task),
                unpriced=self._unpriced.labels(task),
                audited=self._audited.labels(task),
                input=self._tokens.labels(task, "input"),
                output=self._tokens.labels(task, "output"),
                attempts={each: self._attempts.labels(task, each.value) for each in Outcome},
                attempt_seconds=self._attempt_seconds.labels(task),
            )
        return meters

    def turned_away(self, kind: str) -> None:
        """Count a request that was refused before it reached a task; `kind` is of `errors`."""
        self._turned_away.labels(kind).inc()

    def watch(self, readings: Iterable[Reading]) -> None:
        """Read these values at every scrape."""
        self.registry.register(_Readings(tuple(readings)))


def _alone(entry: Entry) -> float:
    """What a request adds to the bill of the teacher alone, as `router.insight.savings` counts."""
    usd = float(entry.teacher_usd or 0)
    if entry.reason is Reason.PASSTHROUGH:
        return usd
    if entry.reason is Reason.TEACHER_CHECK:
        return 0.0
    if entry.route is Route.TEACHER:
        return usd / entry.attempts
    counts = entry.audited and entry.attempts == 1 and entry.teacher_label is not None
    return usd / entry.propensity if counts and entry.route is Route.STUDENT else 0.0


@dataclass(frozen=True, slots=True)
class _Meters:
    """What is counted of one task, bound once: to look a child up costs 1 µs."""

    student: Spent
    teacher: Spent
    teacher_only: Counter
    unpriced: Counter
    audited: Counter
    input: Counter
    output: Counter
    attempts: Mapping[Outcome, Counter]
    attempt_seconds: Histogram


@dataclass(frozen=True, slots=True)
class Reading:
    """A value somebody else keeps, e.g. `Reading("queue_depth", "…", lambda: batcher.depth)`.

    A `counter` only ever grows and its name ends in `_total`. With `labels`, `read` returns the
    values by the labels' values.
    """

    name: str
    help: str
    read: Read
    counter: bool = False
    labels: tuple[str, ...] = ()


class Read(Protocol):
    """Returns the value now, or the values by those of the labels."""

    def __call__(self) -> float | Mapping[tuple[str, ...], float]:
        """Return the value now."""
        ...


class _Readings(Collector):
    """Reads at scrape time only, so that the hot path pays nothing for a gauge."""

    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def describe(self) -> Iterator[Metric]:
        for reading in self._readings:
            yield self._family(reading)

    def collect(self) -> Iterator[Metric]:
        for reading in self._readings:
            family = self._family(reading)
            read = reading.read()
            for values, value in (read if isinstance(read, Mapping) else {(): read}).items():
                family.add_metric(values, value)
            yield family

    @staticmethod
    def _family(reading: Reading) -> CounterMetricFamily | GaugeMetricFamily:
        kind = CounterMetricFamily if reading.counter else GaugeMetricFamily
        return kind(reading.name, reading.help, labels=reading.labels)
