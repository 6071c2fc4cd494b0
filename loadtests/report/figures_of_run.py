"""What one load test found, and whether it counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from loadtests.generator.histogram import Histogram
from loadtests.generator.own_cpu import Usage
from loadtests.generator.tallies import DEGRADED, Tally
from loadtests.inputs.spec import LoadSpec
from loadtests.verdict.slo import Check, Measured, Slo, judge

DEFAULT_SLO = Slo()


class Latency(BaseModel):
    """Milliseconds from the scheduled instant to the whole answer.

    A percentile is None where nothing was measured, or where it falls among requests that never
    got an answer.
    """

    model_config = ConfigDict(frozen=True)

    n: int
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, answered: Histogram, unanswered: int = 0) -> Latency:
        """Summarise a histogram (≤ 1 % error on percentiles; mean and max are exact).

        `unanswered` requests count as later than every answer; mean and max are of the answers.
        """
        n = answered.n + unanswered

        def percentile(q: float) -> float | None:
            rank = max(1, math.ceil(q * n))
            return None if rank > answered.n else _ms(answered.quantile(rank / answered.n))

        return cls(
            n=n,
            mean=_ms(answered.mean_s),
            p50=percentile(0.5),
            p90=percentile(0.9),
            p99=percentile(0.99),
            max=_ms(answered.max_s if answered.n else math.nan),
        )


class SendLag(BaseModel):
    """Milliseconds between the scheduled instant and the sending: the generator's own lateness."""

    model_config = ConfigDict(frozen=True)

    p50: float | None
    p99: float | None
    max: float | None


class Interval(BaseModel):
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
    p50_ms: float | None
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


class LoadReport(BaseModel):
    """One load test. Everything but `unmeasured_*` is of the measured window alone.

    scheduled = sent + dropped; sent = succeeded + failed.
    """

    model_config = ConfigDict(frozen=True)

    spec: LoadSpec
    requested_rps: float
    """The rate that was asked for."""
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
    latency_ms: Mapping[str, Latency]
    """Valid answers by route; `failed` requests; and `all` that were scheduled, where a failed or
    dropped one counts as later than any answer."""
    stages_ms: Mapping[str, Latency]
    """From Server-Timing; `rest` is what no stage explains: HTTP, network, waiting to be sent."""
    first_token_ms: Latency
    token_gap_ms: Latency
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
    intervals: tuple[Interval, ...]
    usage: tuple[Usage, ...]
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
    def failure_rate(self) -> float:
        """Share of the scheduled requests that got no valid answer, drops included."""
        return (self.failed + self.drops) / self.scheduled if self.scheduled else 1.0

    @property
    def passed(self) -> bool:
        """Whether the run counts and every limit was kept."""
        return self.valid and all(check.passed for check in self.checks)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it did not pass: rules that it broke, limits that were not kept."""
        return (*self.invalid_reasons, *(c.words for c in self.checks if not c.passed))


def report_of(
    spec: LoadSpec,
    tally: Tally,
    slo: Slo = DEFAULT_SLO,
    usage: tuple[Usage, ...] = (),
    cut: Cut | None = None,
) -> LoadReport:
    """Turn the workers' merged tally into a report and judge it."""
    measured_s = spec.duration_s if cut is None else cut.measured_s
    by_route = {route: _sum(intervals.values()) for route, intervals in tally.latency.items()}
    everything = _sum(by_route.values())
    routes = {route: histogram.n for route, histogram in sorted(by_route.items())}
    scheduled, sent = tally.scheduled.total(), tally.sent.total()
    cpu = list(tally.cpu.values())
    lag = tally.send_lag
    report = LoadReport(
        spec=spec,
        requested_rps=spec.requested_rps,
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
            p50=_ms(lag.quantile(0.5)),
            p99=_ms(lag.quantile(0.99)),
            max=_ms(lag.max_s if lag.n else math.nan),
        ),
        latency_ms={
            "all": Latency.of(everything, scheduled - everything.n),
            **{route: Latency.of(histogram) for route, histogram in sorted(by_route.items())},
            "failed": Latency.of(tally.failed_latency),
        },
        stages_ms={stage: Latency.of(h) for stage, h in tally.stages.items()},
        first_token_ms=Latency.of(tally.first_token),
        token_gap_ms=Latency.of(tally.token_gap),
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
            _interval(tally, k, measured_s)
            for k in sorted(tally.scheduled)
            if k * tally.interval_s < measured_s
        ),
        usage=usage,
        valid=True,
        invalid_reasons=(),
        cut=cut,
    )
    reasons = (*_faults(report), *sorted(tally.troubles))
    checks = tuple(judge(slo, _measured(report)))
    return report.model_copy(
        update={"valid": not reasons, "invalid_reasons": reasons, "checks": checks}
    )


def _faults(report: LoadReport) -> list[str]:
    """Name every rule that the run broke: then its figures say nothing about the target."""
    spec = report.spec
    found = []
    if report.cut is not None:
        found.append(
            f"{report.measured_s:.0f} of {spec.duration_s:g} s were measured, which is incomplete: "
            f"{report.cut.why}"
        )
    if report.sent == 0:
        return [*found, "no request was sent in the measured window; raise rate or duration"]
    if report.drops:
        found.append(
            f"{report.drops} arrivals were dropped because {spec.concurrency} requests per process "
            "were in flight; raise concurrency, or the target is far past its limit"
        )
    lag = report.send_lag_ms.p99
    if lag is not None and lag > spec.max_send_lag_ms:
        found.append(
            f"1 % of the requests left {lag:.1f} ms or more after their instant; "
            f"{spec.max_send_lag_ms:g} ms is allowed: use more processes or a quieter machine"
        )
    if report.sent < spec.min_offered_share * report.scheduled:
        found.append(
            f"{report.sent} of {report.scheduled} arrivals were sent; "
            f"{spec.min_offered_share:.0%} are needed"
        )
    if not report.generator_cpu <= spec.max_generator_cpu:
        found.append(
            f"a generator process used {report.generator_cpu:.0%} of a core; "
            f"{spec.max_generator_cpu:.0%} is allowed: use more processes or a lower rate"
        )
    return found


def _interval(tally: Tally, k: int, measured_s: float) -> Interval:
    at_s = k * tally.interval_s
    length_s = min(tally.interval_s, measured_s - at_s)
    routes = {route: found[k] for route, found in tally.latency.items() if k in found}
    answered = _sum(routes.values())
    due = Latency.of(answered, tally.scheduled[k] - answered.n)
    return Interval(
        at_s=at_s,
        length_s=length_s,
        requested_rps=tally.scheduled[k] / length_s,
        offered_rps=tally.sent[k] / length_s,
        achieved_rps=tally.finished[k] / length_s,
        good_rps=tally.good[k] / length_s,
        failed=tally.sent[k] - answered.n,
        p50_ms=due.p50,
        p99_ms=due.p99,
        routes={route: histogram.n for route, histogram in sorted(routes.items())},
        usd=tally.usd.get(k, Decimal(0)),
        generator_cpu=tally.cpu.get(k),
    )


def _measured(report: LoadReport) -> Measured:
    answered = report.succeeded
    priced = answered - report.unpriced
    return Measured(
        failure_rate=report.failure_rate,
        good_share=report.good / report.scheduled if report.scheduled else 0.0,
        escalation_rate=report.escalation_rate,
        degraded_rate=report.routes.get(DEGRADED, 0) / answered if answered else None,
        usd_per_1k=float(report.cost_usd) / priced * 1000 if priced else None,
        latency={
            route: (m.n, {"p50": m.p50, "p90": m.p90, "p99": m.p99, "max": m.max})
            for route, m in report.latency_ms.items()
        },
    )


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.add(histogram)
    return total


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1000, 4)
