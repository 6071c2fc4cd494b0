"""What one load test found, and whether it counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from loadtests.figures.judging import Check, Measured, judge
from loadtests.figures.latency import LatencySummary, milliseconds, percentile, stretches, total
from loadtests.figures.turning_points import judged_with
from loadtests.figures.validity import broken_rules
from loadtests.generator.histogram import Histogram
from loadtests.generator.tallies import DEGRADED, Tally
from loadtests.inputs.percentiles import MIN_SAMPLES, Percentile
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.servers.usage import ServerUsage

DEFAULT_SLO = Slo()


class SendLag(BaseModel):
    """Milliseconds between the scheduled instant and the sending: the generator's own lateness."""

    model_config = ConfigDict(frozen=True)

    p50: float | None
    p99: float | None
    max: float | None


class LagStretch(BaseModel):
    """Send lag of as many intervals as carry a p99; None where the whole run is too short."""

    model_config = ConfigDict(frozen=True)

    at_s: float
    length_s: float
    n: int
    p99_ms: float | None


class LoadInterval(BaseModel):
    """What was due in one stretch of the measured window; rates are per second."""

    model_config = ConfigDict(frozen=True)

    at_s: float
    length_s: float
    requested_rps: float
    offered_rps: float
    achieved_rps: float
    """By the moment of the answer."""
    good_rps: float
    failed: int
    dropped: int = 0
    p50_ms: float | None
    p90_ms: float | None = None
    p99_ms: float | None
    routes: Mapping[str, int]
    usd: Decimal
    generator_cpu: float | None


class Cut(BaseModel):
    """A run that ended before its time: nothing is judged on a part of it."""

    model_config = ConfigDict(frozen=True)

    why: str
    measured_s: float
    """Seconds of the window that were measured."""
    unfinished: int = 0
    """Requests in flight at the end, which nobody waited for: they are in no figure."""
    decided: bool = False
    """It was ended because a limit could not be kept any more: the part is enough to judge."""


class LoadReport(BaseModel):
    """One load test. Everything but `unmeasured_*` is of the measured window alone.

    scheduled = sent + dropped; sent = succeeded + failed.
    """

    model_config = ConfigDict(frozen=True)

    spec: LoadSpec
    requested_rps: float
    """Arrivals of the schedule, per second of the window; `spec.rate` is their expectation."""
    offered_rps: float
    """Arrivals that were really sent, per second of the window."""
    achieved_rps: float
    """Valid answers that arrived within the window, per second."""
    goodput_rps: float
    """Good answers per second: the figure that counts."""
    scheduled: int
    sent: int
    succeeded: int
    failed: int
    failures: Mapping[str, int]
    """By kind: timeout, connection, http_429, garbled, …"""
    drops: int
    good: int
    """Valid answers, not degraded, within `spec.deadline_ms` of their instant."""
    send_lag_ms: SendLag
    send_lag_stretches: tuple[LagStretch, ...] = ()
    latency_ms: Mapping[str, LatencySummary]
    """Valid answers by route; `failed` requests; and `all` that were scheduled, where a failed or
    dropped one counts as later than any answer."""
    stages_ms: Mapping[str, LatencySummary]
    """From Server-Timing; `rest` is what no stage explains: HTTP, network, waiting to be sent."""
    first_token_ms: LatencySummary
    token_gap_ms: LatencySummary
    per_token_ms: LatencySummary | None = None
    """Mean milliseconds a token after the first, by stream."""
    tokens_per_s: float | None = None
    """Words of all streams per second of the window; None where nothing was streamed."""
    cdf_ms: Mapping[str, tuple[tuple[float, float], ...]]
    """By route: (milliseconds, share of the answers up to them)."""
    routes: Mapping[str, int]
    reasons: Mapping[str, int]
    """`route reason` → answers."""
    escalation_rate: float | None
    """Share of the valid answers that the student did not give; None for an unrouted target."""
    cost_usd: Decimal
    """Sum of x-raisehand-cost-usd, failures included where the header says so."""
    unpriced: int
    """Valid answers without a price; they are in no sum."""
    unmeasured_sent: int
    """Warm-up requests, the one that tried the target, and what was asked to tell hard inputs from
    easy ones: in the ledger, not in the figures."""
    unmeasured_cost_usd: Decimal
    reopened: int = 0
    """Requests sent again, warm-up included: their connection had died while it was idle."""
    distinct_inputs: int
    generator_cpu: float
    """Mean share of a core of the busiest process; the limit is `spec.max_generator_cpu`."""
    generator_cpu_peak: float
    quarters_ms: tuple[LatencySummary, ...] = ()
    """Of what was due in each quarter of the window: what creeps shows here."""
    intervals: tuple[LoadInterval, ...]
    usage: tuple[ServerUsage, ...]
    """The server's processes, where they run on this machine."""
    valid: bool
    invalid_reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    """The SLO, limit by limit."""
    cut: Cut | None = None
    """None: the whole window was measured."""

    @property
    def measured_s(self) -> float:
        """Seconds of the window that were measured."""
        return self.spec.duration_s if self.cut is None else self.cut.measured_s

    @property
    def streams_ms(self) -> dict[str, LatencySummary]:
        """Latencies within streams, by what they are called in tables."""
        found = {"first token": self.first_token_ms, "token gap": self.token_gap_ms}
        if self.per_token_ms is not None:
            found["per token"] = self.per_token_ms
        return {name: latency for name, latency in found.items() if latency.n}

    @property
    def failure_rate(self) -> float:
        """Share of the scheduled requests that got no valid answer, drops included."""
        return (self.failed + self.drops) / self.scheduled if self.scheduled else 1.0

    @property
    def passed(self) -> bool:
        """Whether the run counts and every limit was kept."""
        return self.valid and all(check.passed for check in self.checks)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it did not pass: rules that it broke, why it was lost, limits that were not kept."""
        lost = (self.cut.why,) if self.valid and self.cut is not None else ()
        return (*self.invalid_reasons, *lost, *(c.words for c in self.checks if not c.passed))


def report_of(
    spec: LoadSpec,
    tally: Tally,
    slo: Slo = DEFAULT_SLO,
    usage: tuple[ServerUsage, ...] = (),
    cut: Cut | None = None,
) -> LoadReport:
    """Turn the workers' merged tally into a report and judge it."""
    measured_s = spec.duration_s if cut is None else cut.measured_s
    by_route = {route: total(intervals.values()) for route, intervals in tally.latency.items()}
    everything = total(by_route.values())
    routes = {route: histogram.n for route, histogram in sorted(by_route.items())}
    scheduled, sent = tally.scheduled.total(), tally.sent.total()
    cpu = list(tally.cpu.values())
    lag = total(tally.send_lag.values())
    merged, missing = by_interval(tally)
    report = LoadReport(
        spec=spec,
        requested_rps=scheduled / measured_s,
        offered_rps=sent / measured_s,
        achieved_rps=tally.finished.total() / measured_s,
        goodput_rps=tally.good.total() / measured_s,
        scheduled=scheduled,
        sent=sent,
        succeeded=everything.n,
        failed=sent - everything.n,
        failures={kind: counts.total() for kind, counts in sorted(tally.failed.items())},
        drops=tally.dropped.total(),
        good=tally.good.total(),
        send_lag_ms=SendLag(
            p50=milliseconds(lag.quantile(0.5)),
            p99=milliseconds(lag.quantile(0.99)),
            max=milliseconds(lag.max_s if lag.n else math.nan),
        ),
        send_lag_stretches=tuple(_lag_stretches(tally, measured_s)),
        quarters_ms=tuple(_quarters(merged, missing)),
        latency_ms={
            "all": LatencySummary.of(everything, scheduled - everything.n),
            **{
                route: LatencySummary.of(histogram) for route, histogram in sorted(by_route.items())
            },
            "failed": LatencySummary.of(tally.failed_latency),
        },
        stages_ms={stage: LatencySummary.of(h) for stage, h in tally.stages.items()},
        first_token_ms=LatencySummary.of(tally.first_token),
        token_gap_ms=LatencySummary.of(tally.token_gap),
        per_token_ms=LatencySummary.of(tally.per_token),
        tokens_per_s=tally.tokens / measured_s if tally.tokens else None,
        cdf_ms={
            route: tuple((round(1000 * at, 4), share) for at, share in histogram.cdf())
            for route, histogram in sorted(by_route.items())
        },
        routes=routes,
        reasons=dict(sorted(tally.decisions.items())),
        escalation_rate=(1.0 - routes["student"] / everything.n if routes.get("student") else None),
        cost_usd=sum(tally.usd.values(), Decimal(0)),
        unpriced=tally.unpriced,
        unmeasured_sent=tally.unmeasured_sent,
        unmeasured_cost_usd=tally.unmeasured_usd,
        reopened=tally.reopened,
        distinct_inputs=len(tally.rows),
        generator_cpu=sum(cpu) / len(cpu) if cpu else math.nan,
        generator_cpu_peak=max(cpu, default=math.nan),
        intervals=tuple(
            _interval(tally, k, measured_s, merged[k], missing[k])
            for k in sorted(tally.scheduled)
            if k * tally.interval_s < measured_s
        ),
        usage=usage,
        valid=True,
        invalid_reasons=(),
        cut=cut,
    )
    report = report.model_copy(update={"checks": tuple(judge(slo, _measured(report, tally)))})
    report = judged_with(report, slo, ())
    reasons = (*broken_rules(report), *sorted(tally.troubles))
    return report.model_copy(update={"valid": not reasons, "invalid_reasons": reasons})


def by_interval(tally: Tally) -> tuple[dict[int, Histogram], dict[int, int]]:
    """Return, for each interval, the latency of all answers and how many requests got none."""
    merged = {
        k: total(found[k] for found in tally.latency.values() if k in found)
        for k in tally.scheduled
    }
    return merged, {k: tally.scheduled[k] - merged[k].n for k in merged}


def _lag_stretches(tally: Tally, measured_s: float) -> Iterator[LagStretch]:
    found = stretches(tally.send_lag, MIN_SAMPLES["p99"])
    for first, last, lag, _ in found:
        at_s = first * tally.interval_s
        # A run that is too short to carry a p99 is judged as a whole: the generator's own
        # lateness is no estimate of anything, it happened.
        yield LagStretch(
            at_s=at_s,
            length_s=min((last + 1) * tally.interval_s, measured_s) - at_s,
            n=lag.n,
            p99_ms=milliseconds(lag.quantile(0.99)),
        )


def _quarters(
    merged: Mapping[int, Histogram], missing: Mapping[int, int]
) -> Iterator[LatencySummary]:
    known = sorted(merged)
    for q in range(4):
        part = known[q * len(known) // 4 : (q + 1) * len(known) // 4]
        yield LatencySummary.of(total(merged[k] for k in part), sum(missing[k] for k in part))


def _interval(
    tally: Tally, k: int, measured_s: float, answered: Histogram, unanswered: int
) -> LoadInterval:
    at_s = k * tally.interval_s
    length_s = min(tally.interval_s, measured_s - at_s)
    routes = {route: found[k] for route, found in tally.latency.items() if k in found}
    due = LatencySummary.of(answered, unanswered)
    return LoadInterval(
        at_s=at_s,
        length_s=length_s,
        requested_rps=tally.scheduled[k] / length_s,
        offered_rps=tally.sent[k] / length_s,
        achieved_rps=tally.finished[k] / length_s,
        good_rps=tally.good[k] / length_s,
        failed=tally.sent[k] - answered.n,
        dropped=tally.dropped[k],
        p50_ms=due.p50,
        p90_ms=due.p90,
        p99_ms=due.p99,
        routes={route: histogram.n for route, histogram in sorted(routes.items())},
        usd=tally.usd.get(k, Decimal(0)),
        generator_cpu=tally.cpu.get(k),
    )


def _measured(report: LoadReport, tally: Tally) -> Measured:
    answered = report.succeeded
    priced = answered - report.unpriced
    return Measured(
        failure_rate=report.failure_rate,
        good_share=report.good / report.scheduled if report.scheduled else 0.0,
        escalation_rate=report.escalation_rate,
        degraded_rate=report.routes.get(DEGRADED, 0) / answered if answered else None,
        tokens_per_s=report.tokens_per_s,
        usd_per_1k=float(report.cost_usd) / priced * 1000 if priced else None,
        latency={
            **report.latency_ms,
            "first_token": report.first_token_ms,
            "token_gap": report.token_gap_ms,
            **({"per_token": report.per_token_ms} if report.per_token_ms else {}),
        },
        worst=lambda route, name: _worst(tally, route, name),
    )


def _worst(tally: Tally, route: str, name: Percentile) -> tuple[float, int, float | None] | None:
    """Return the stretch with the worst percentile: its first second, its n and milliseconds."""
    if route == "all":
        found, missing = by_interval(tally)
    else:
        found, missing = dict(tally.latency.get(route, {})), {}
    parts = [
        (first * tally.interval_s, answered.n + lost, percentile(answered, name, lost))
        for first, _, answered, lost in stretches(found, MIN_SAMPLES[name], missing)
    ]
    return max(parts, key=lambda part: math.inf if part[2] is None else part[2], default=None)
