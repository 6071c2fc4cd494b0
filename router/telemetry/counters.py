"""What every request adds to, by task, route and reason: plain numbers, read at scrape time.

Two client-library objects with a lock each cost 3 µs a request; one list per label set costs 0.5.
Only the event loop writes and scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from router.policy import Reason, Route

REQUEST_DURATION = "raisehand_request_duration_seconds"
TEACHER_DURATION = "raisehand_teacher_attempt_duration_seconds"
FORMER_NAMES = {
    REQUEST_DURATION: "raisehand_request_seconds",
    TEACHER_DURATION: "raisehand_teacher_attempt_seconds",
}
"""What 0.1.0 called them."""


class StatusTally(Collector):
    """Counts HTTP answers by status, whoever gave them."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, status: int) -> None:
        """Count one answer."""
        self._counts[status] = self._counts.get(status, 0) + 1

    def describe(self) -> Iterator[Metric]:
        """Name the metric without reading it."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """Read the numbers."""
        family = self._family()
        for status, count in self._counts.items():
            family.add_metric((str(status),), count)
        yield family

    @staticmethod
    def _family() -> CounterMetricFamily:
        return CounterMetricFamily(
            "raisehand_http_responses_total", "HTTP answers by status.", labels=("status",)
        )


@dataclass(slots=True)
class Spent:
    """What one payer got for one task, exactly; to make a float of each amount costs 1 µs."""

    usd: Decimal = Decimal(0)


class CostTally(Collector):
    """Adds up dollars by task and payer."""

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str], Spent] = {}

    def of(self, task: str, payer: str) -> Spent:
        """Return where to add."""
        return self._spent.setdefault((task, payer), Spent())

    def describe(self) -> Iterator[Metric]:
        """Name the metric without reading it."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """Read the sums."""
        family = self._family()
        for key, spent in self._spent.items():
            family.add_metric(key, float(spent.usd))
        yield family

    @staticmethod
    def _family() -> CounterMetricFamily:
        return CounterMetricFamily(
            "raisehand_cost_usd_total",
            "US dollars spent, by who was paid; unpriced requests are counted elsewhere.",
            labels=("task", "payer"),
        )


class TallyReading(msgspec.Struct, frozen=True):
    """What was counted so far."""

    counts: list[tuple[str, str, str, int]]
    """Task, route, reason, requests."""
    buckets: dict[str, list[int]]
    """By route: answers up to each bound and above the one before, the last above all."""
    bounds: list[float]
    """Seconds."""

    @property
    def requests(self) -> dict[tuple[str, str, str], int]:
        """Requests by task, route and reason."""
        return {(task, route, reason): count for task, route, reason, count in self.counts}


class RequestTally(Collector):
    """Counts requests by (task, route, reason) and their latencies by route.

    Args:
        bounds: upper bounds of the latency buckets, in seconds, ascending.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts: dict[tuple[str, str, str], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def add(self, task: str, route: Route, reason: Reason, seconds: float) -> None:
        """Count one request."""
        who = route._value_  # not .value: a property that costs more than the rest of this line
        key = (task, who, reason._value_)
        self._counts[key] = self._counts.get(key, 0) + 1
        buckets = self._buckets.get(who)
        if buckets is None:
            buckets = self._buckets[who] = [0] * (len(self._bounds) + 1)
            self._seconds[who] = 0.0
        buckets[bisect_left(self._bounds, seconds)] += 1
        self._seconds[who] += seconds

    def read(self) -> TallyReading:
        """Return a copy of the numbers."""
        return TallyReading(
            [(*key, count) for key, count in self._counts.items()],
            {route: list(counts) for route, counts in self._buckets.items()},
            list(self._bounds),
        )

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading them."""
        yield self._requests()
        yield self._latency()

    def collect(self) -> Iterator[Metric]:
        """Read the numbers."""
        requests, latency = self._requests(), self._latency()
        for key, count in self._counts.items():
            requests.add_metric(key, count)
        for route, counts in self._buckets.items():
            cumulated, total = [], 0
            for bound, count in zip((*map(repr, self._bounds), "+Inf"), counts, strict=True):
                total += count
                cumulated.append((bound, float(total)))
            latency.add_metric((route,), cumulated, self._seconds[route])
        yield requests
        yield latency

    @staticmethod
    def _requests() -> CounterMetricFamily:
        return CounterMetricFamily(
            "raisehand_requests_total",
            "Requests by task, by who answered and by why.",
            labels=("task", "route", "reason"),
        )

    @staticmethod
    def _latency() -> HistogramMetricFamily:
        return HistogramMetricFamily(
            REQUEST_DURATION,
            "Seconds from the request's arrival to its answer, by who answered.",
            labels=("route",),
        )


class FormerNames(Collector):
    """Metrics under the names that they had before, for one release: boards move when they can."""

    def __init__(self, *sources: Collector) -> None:
        self._sources = sources

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading them."""
        for now, before in FORMER_NAMES.items():
            yield HistogramMetricFamily(before, f"{now} until it goes in 0.3.0.")

    def collect(self) -> Iterator[Metric]:
        """Read the numbers."""
        for source in self._sources:
            for family in source.collect():
                if family.name in FORMER_NAMES:
                    yield self._renamed(family)

    @staticmethod
    def _renamed(family: Metric) -> Metric:
        before = FORMER_NAMES[family.name]
        renamed = Metric(before, f"{family.name} until it goes in 0.3.0.", family.type)
        for sample in family.samples:
            name = before + sample.name.removeprefix(family.name)
            renamed.add_sample(name, sample.labels, sample.value)
        return renamed
