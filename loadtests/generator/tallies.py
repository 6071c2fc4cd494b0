"""What one worker saw, counted as it happens: nothing per request is kept.

Everything that is plotted over time is counted per interval of the measured window; tallies of
several workers add up exactly.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from loadtests.generator.histogram import Histogram
from loadtests.inputs.spec import LoadSpec

UNROUTED = "unrouted"
"""Route of an answer without an x-raisehand-route header."""
DEGRADED = "degraded"
"""Route of the student's answer to a question that should have gone to the teacher."""
MAX_INTERVALS = 240
_COUNTERS = ("scheduled", "sent", "finished", "good", "dropped")
_HISTOGRAMS = ("failed_latency", "first_token", "token_gap", "per_token")


class RequestOutcome(msgspec.Struct, frozen=True):
    """One request, from its scheduled instant to its end.

    `failure` is None for a valid answer, else the kind: timeout, connection, http_429, garbled …
    `latency_s` counts from the scheduled instant, so that waiting to be sent is part of it.
    """

    offset_s: float
    row_index: int
    lag_s: float
    latency_s: float
    status: int
    failure: str | None
    route: str = UNROUTED
    reason: str = ""
    label: str | None = None
    confidence: float | None = None
    usd: Decimal | None = None
    stages: tuple[tuple[str, float], ...] = ()
    """Seconds by stage, from Server-Timing."""
    first_token_s: float | None = None
    """Streams: from the scheduled instant to the first word."""
    token_gaps_s: tuple[float, ...] = ()
    body_bytes: int = 0
    """Of the reply."""

    @property
    def tokens(self) -> int:
        """Words of a stream; 0 for an answer that is none."""
        return 0 if self.first_token_s is None else 1 + len(self.token_gaps_s)

    @property
    def per_token_s(self) -> float | None:
        """Mean seconds a token after the first; None where there is no second one."""
        gaps = self.token_gaps_s
        return sum(gaps) / len(gaps) if gaps else None

    def sample(self) -> dict[str, object]:
        """Return the JSON line that `samples` files hold."""
        return {
            "row": self.row_index,
            "at_s": round(self.offset_s, 6),
            "label": self.label,
            "route": self.route,
            "reason": self.reason,
            "confidence": self.confidence,
            "cost_usd": None if self.usd is None else str(self.usd),
            "latency_ms": round(self.latency_s * 1000, 4),
            "send_lag_ms": round(self.lag_s * 1000, 4),
            "stages_ms": {stage: round(1000 * seconds, 4) for stage, seconds in self.stages},
            "status": self.status,
            "failure": self.failure,
            **self._of_stream(),
        }

    def _of_stream(self) -> dict[str, object]:
        if self.first_token_s is None:
            return {}
        per_token_s = self.per_token_s
        return {
            "first_token_ms": round(1000 * self.first_token_s, 4),
            "per_token_ms": None if per_token_s is None else round(1000 * per_token_s, 4),
            "tokens": self.tokens,
        }


def interval_s(spec: LoadSpec) -> float:
    """Return the seconds of one interval: at least 1, and no more than 240 of them."""
    return max(1.0, math.ceil(spec.duration_s / MAX_INTERVALS))


@dataclass(slots=True)
class Tally:
    """Counts of the measured window; `unmeasured_*` is the warm-up, kept for ledgers."""

    interval_s: float
    scheduled: Counter[int] = field(default_factory=Counter)
    sent: Counter[int] = field(default_factory=Counter)
    finished: Counter[int] = field(default_factory=Counter)
    """Valid answers by the interval in which they arrived, whatever was asked when."""
    good: Counter[int] = field(default_factory=Counter)
    """Valid answers that were not degraded and came within the deadline, by due interval."""
    dropped: Counter[int] = field(default_factory=Counter)
    failed: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    latency: dict[str, dict[int, Histogram]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Histogram))
    )
    """Valid answers by route and by the interval in which they were due."""
    failed_latency: Histogram = field(default_factory=Histogram)
    send_lag: dict[int, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    """By the interval in which the requests were due."""
    stages: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    """Seconds by stage of the answer, and `rest`: HTTP, network, waiting to be sent."""
    first_token: Histogram = field(default_factory=Histogram)
    token_gap: Histogram = field(default_factory=Histogram)
    per_token: Histogram = field(default_factory=Histogram)
    """Mean seconds a token after the first, by stream."""
    tokens: int = 0
    """Words of the streams, as the server sent them."""
    decisions: Counter[str] = field(default_factory=Counter)
    """`route reason` → answers."""
    usd: dict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    unpriced: int = 0
    reopened: int = 0
    """Requests sent again on a new connection: the idle one had died before they were read."""
    unmeasured_sent: int = 0
    unmeasured_usd: Decimal = Decimal(0)
    cpu: dict[int, float] = field(default_factory=dict)
    """Share of a core that the busiest worker used, by interval."""
    rows: set[int] = field(default_factory=set)
    troubles: set[str] = field(default_factory=set)
    """What else went wrong in a worker: it voids the run."""

    def settle(self) -> int:
        """Take arrivals that nobody waited for out of the schedule; return how many."""
        unfinished = 0
        for interval, scheduled in self.scheduled.items():
            known = self.sent[interval] + self.dropped[interval]
            unfinished += scheduled - known
            self.scheduled[interval] = known
        return unfinished

    def arrive(self, offset_s: float) -> None:
        """Count an arrival that is due."""
        if offset_s >= 0:
            self.scheduled[int(offset_s / self.interval_s)] += 1

    def drop(self, offset_s: float) -> None:
        """Count an arrival that could not be sent: too many requests in flight."""
        if offset_s >= 0:
            self.dropped[int(offset_s / self.interval_s)] += 1

    def record(self, outcome: RequestOutcome, spec: LoadSpec) -> None:
        """Count one finished request."""
        end_s = outcome.offset_s + outcome.latency_s
        if outcome.failure is None and 0 <= end_s < spec.duration_s:
            self.finished[int(end_s / self.interval_s)] += 1
        if outcome.offset_s < 0:
            self.unmeasured_sent += 1
            self.unmeasured_usd += outcome.usd or 0
            return
        interval = int(outcome.offset_s / self.interval_s)
        self.sent[interval] += 1
        self.send_lag[interval].record(outcome.lag_s)
        self.rows.add(outcome.row_index)
        if outcome.usd is not None:
            self.usd[interval] += outcome.usd
        if outcome.failure is not None:
            self.failed[outcome.failure][interval] += 1
            self.failed_latency.record(outcome.latency_s)
            return
        if outcome.usd is None:
            self.unpriced += 1
        if outcome.route != DEGRADED and outcome.latency_s * 1000 <= spec.deadline_ms:
            self.good[interval] += 1
        self.latency[outcome.route][interval].record(outcome.latency_s)
        self.decisions[f"{outcome.route} {outcome.reason}".strip()] += 1
        self._record_parts(outcome)

    def _record_parts(self, outcome: RequestOutcome) -> None:
        rest = outcome.latency_s
        for stage, seconds in outcome.stages:
            self.stages[stage].record(seconds)
            rest -= seconds
        if outcome.stages:
            self.stages["rest"].record(rest)
        if outcome.first_token_s is not None:
            self.first_token.record(outcome.first_token_s)
            self.tokens += outcome.tokens
        if outcome.per_token_s is not None:
            self.per_token.record(outcome.per_token_s)
        for gap in outcome.token_gaps_s:
            self.token_gap.record(gap)

    def add(self, other: Tally) -> None:
        """Take in another worker's counts."""
        for name in (*_COUNTERS, "decisions"):
            getattr(self, name).update(getattr(other, name))
        for name in _HISTOGRAMS:
            getattr(self, name).add(getattr(other, name))
        for stage, histogram in other.stages.items():
            self.stages[stage].add(histogram)
        for interval, lag in other.send_lag.items():
            self.send_lag[interval].add(lag)
        for kind, counts in other.failed.items():
            self.failed[kind].update(counts)
        for route, intervals in other.latency.items():
            for interval, histogram in intervals.items():
                self.latency[route][interval].add(histogram)
        for interval, usd in other.usd.items():
            self.usd[interval] += usd
        self.unpriced += other.unpriced
        self.reopened += other.reopened
        self.tokens += other.tokens
        self.unmeasured_sent += other.unmeasured_sent
        self.unmeasured_usd += other.unmeasured_usd
        for interval, share in other.cpu.items():
            self.cpu[interval] = max(share, self.cpu.get(interval, 0.0))
        self.rows |= other.rows
        self.troubles |= other.troubles

    def dump(self) -> dict[str, object]:
        """Return JSON-able content."""
        return {
            "interval_s": self.interval_s,
            **{name: getattr(self, name) for name in _COUNTERS},
            **{name: getattr(self, name).dump() for name in _HISTOGRAMS},
            "send_lag": {interval: h.dump() for interval, h in self.send_lag.items()},
            "stages": {stage: h.dump() for stage, h in self.stages.items()},
            "failed": self.failed,
            "latency": {
                route: {interval: h.dump() for interval, h in intervals.items()}
                for route, intervals in self.latency.items()
            },
            "decisions": self.decisions,
            "usd": {interval: str(usd) for interval, usd in self.usd.items()},
            "unpriced": self.unpriced,
            "reopened": self.reopened,
            "tokens": self.tokens,
            "unmeasured_sent": self.unmeasured_sent,
            "unmeasured_usd": str(self.unmeasured_usd),
            "cpu": self.cpu,
            "rows": list(self.rows),
            "troubles": list(self.troubles),
        }

    @classmethod
    def load(cls, content: Mapping[str, Any]) -> Tally:
        """Rebuild from `dump`, after JSON has made every key a string."""
        tally = cls(content["interval_s"])
        for name in _COUNTERS:
            getattr(tally, name).update({int(k): v for k, v in content[name].items()})
        for name in _HISTOGRAMS:
            setattr(tally, name, Histogram.load(content[name]))
        for interval, lag in content["send_lag"].items():
            tally.send_lag[int(interval)] = Histogram.load(lag)
        for stage, histogram in content["stages"].items():
            tally.stages[stage] = Histogram.load(histogram)
        for kind, counts in content["failed"].items():
            tally.failed[kind].update({int(k): v for k, v in counts.items()})
        for route, intervals in content["latency"].items():
            for interval, histogram in intervals.items():
                tally.latency[route][int(interval)] = Histogram.load(histogram)
        tally.decisions.update(content["decisions"])
        for interval, usd in content["usd"].items():
            tally.usd[int(interval)] = Decimal(usd)
        tally.unpriced = content["unpriced"]
        tally.reopened = content["reopened"]
        tally.tokens = content["tokens"]
        tally.unmeasured_sent = content["unmeasured_sent"]
        tally.unmeasured_usd = Decimal(content["unmeasured_usd"])
        tally.cpu = {int(k): float(v) for k, v in content["cpu"].items()}
        tally.rows = set(content["rows"])
        tally.troubles = set(content["troubles"])
        return tally
