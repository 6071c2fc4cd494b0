"""Requests a second and latencies of the last minute, from counts that only ever grow.

Each worker has its own history: one that was started anew begins at 0, and its past is forgotten
instead of taken for a negative rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from router.telemetry.counters import TallyReading

WINDOW_S = 60.0
FEWEST = {0.5: 20, 0.99: 1_000}
"""Answers that carry a percentile: ten of them must lie beyond it."""

Key = tuple[str, str, str]
"""Task, route, reason."""


@dataclass(frozen=True, slots=True)
class RecentRoute:
    """One route in the last minute; a percentile that too few answers carry is None."""

    per_second: float
    n: int
    p50_ms: float | None
    p99_ms: float | None


class RecentRates:
    """Takes readings of all workers as they come, and says what happened in the last minute."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._seen: dict[int, deque[tuple[float, TallyReading]]] = {}

    def add(self, now: float, readings: Sequence[TallyReading | None]) -> None:
        """Take what each worker says at one moment; None: it does not answer."""
        for index, reading in enumerate(readings):
            if reading is None:
                self._seen.pop(index, None)
                continue
            seen = self._seen.setdefault(index, deque())
            if seen and _began_anew(seen[-1][1], reading):
                seen.clear()
            seen.append((now, reading))
            while len(seen) > 2 and seen[1][0] <= now - self._window_s:
                seen.popleft()

    @property
    def per_second(self) -> Mapping[Key, float]:
        """Requests a second by task, route and reason."""
        found: dict[Key, float] = {}
        for seconds, first, last in self._spans():
            for key, count in last.requests.items():
                new = count - first.requests.get(key, 0)
                if new:
                    found[key] = found.get(key, 0.0) + new / seconds
        return found

    @property
    def by_route(self) -> Mapping[str, RecentRoute]:
        """Each route that answered."""
        counts: dict[str, list[int]] = {}
        rates: dict[str, float] = {}
        bounds: Sequence[float] = ()
        for seconds, first, last in self._spans():
            bounds = last.bounds
            for route, buckets in last.buckets.items():
                before = first.buckets.get(route, [0] * len(buckets))
                new = [b - a for a, b in zip(before, buckets, strict=True)]
                known = counts.setdefault(route, [0] * len(new))
                counts[route] = [a + b for a, b in zip(known, new, strict=True)]
                rates[route] = rates.get(route, 0.0) + sum(new) / seconds
        return {
            route: RecentRoute(
                rates[route], sum(new), *(quantile_ms(bounds, new, q) for q in (0.5, 0.99))
            )
            for route, new in counts.items()
            if sum(new)
        }

    def _spans(self) -> Iterator[tuple[float, TallyReading, TallyReading]]:
        for seen in self._seen.values():
            (start, first), (end, last) = seen[0], seen[-1]
            if end > start:
                yield end - start, first, last


def quantile_ms(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """Read a quantile off a histogram of seconds, straight within a bucket.

    None where the sample does not carry it, or where it lies above the highest bound.
    """
    total = sum(counts)
    if total < FEWEST[q]:
        return None
    rank, below, low = q * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return 1000.0 * (low + (bound - low) * (rank - below) / count)
        below, low = below + count, bound
    return None


def _began_anew(before: TallyReading, after: TallyReading) -> bool:
    return any(after.requests.get(key, 0) < count for key, count in before.requests.items())
