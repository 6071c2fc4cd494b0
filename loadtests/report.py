"""What one load test found, and whether it counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from loadtests.histogram import Histogram
from loadtests.slo import Check, Measured, Slo, judge
from loadtests.spec import LoadSpec
from loadtests.tally import Tally

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
    scheduled: int
    sent: int
    succeeded: int
    failed: int
    failures: Mapping[str, int]
    """By kind: timeout, connection, http_429, garbled, …"""
    drops: int
    send_lag_ms: SendLag
    latency_ms: Mapping[str, Latency]
    """Valid answers by route; `failed` requests; and `all` that were scheduled, where a failed or
    dropped one counts as later than any answer."""
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
    """Warm-up requests and the one that tried the target: in the ledger, not in the figures."""
    unmeasured_cost_usd: Decimal
    distinct_inputs: int
    generator_cpu: float
    """Mean share of a core of the busiest process; the limit is `spec.max_generator_cpu`."""
    generator_cpu_peak: float
    valid: bool
    invalid_reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    """The SLO, limit by limit."""

    @property
    def failure_rate(self) -> float:
        """Share of the scheduled requests that got no valid answer, drops included."""
        return (self.failed + self.drops) / self.scheduled if self.scheduled else 1.0

    @property
    def passed(self) -> bool:
        """Whether the run counts and every limit was kept."""
        return self.valid and all(check.passed for check in self.checks)


def report_of(spec: LoadSpec, tally: Tally, slo: Slo = DEFAULT_SLO) -> LoadReport:
    """Turn the workers' merged tally into a report and judge it."""
    by_route = {route: _sum(intervals.values()) for route, intervals in tally.latency.items()}
    everything = _sum(by_route.values())
    routes = {route: histogram.n for route, histogram in sorted(by_route.items())}
    scheduled, sent = tally.scheduled.total(), tally.sent.total()
    cpu = list(tally.cpu.values())
    lag = tally.send_lag
    report = LoadReport(
        spec=spec,
        requested_rps=spec.rate,
        offered_rps=sent / spec.duration_s,
        achieved_rps=tally.finished.total() / spec.duration_s,
        scheduled=scheduled,
        sent=sent,
        succeeded=everything.n,
        failed=sent - everything.n,
        failures={kind: counts.total() for kind, counts in sorted(tally.failed.items())},
        drops=tally.dropped.total(),
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
        routes=routes,
        reasons=dict(sorted(tally.decisions.items())),
        escalation_rate=(1.0 - routes["student"] / everything.n if routes.get("student") else None),
        cost_usd=sum(tally.usd.values(), Decimal(0)),
        unpriced=tally.unpriced,
        unmeasured_sent=tally.unmeasured_sent,
        unmeasured_cost_usd=tally.unmeasured_usd,
        distinct_inputs=len(tally.rows),
        generator_cpu=sum(cpu) / len(cpu) if cpu else math.nan,
        generator_cpu_peak=max(cpu, default=math.nan),
        valid=True,
        invalid_reasons=(),
    )
    reasons = tuple(_faults(report))
    checks = tuple(
        judge(slo, report.failure_rate, {r: _measured(m) for r, m in report.latency_ms.items()})
    )
    return report.model_copy(
        update={"valid": not reasons, "invalid_reasons": reasons, "checks": checks}
    )


def _faults(report: LoadReport) -> list[str]:
    """Name every rule that the run broke: then its figures say nothing about the target."""
    spec = report.spec
    found = []
    if report.sent == 0:
        return ["no request was sent in the measured window; raise rate or duration"]
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


def _measured(latency: Latency) -> Measured:
    return Measured(
        n=latency.n,
        values={"p50": latency.p50, "p90": latency.p90, "p99": latency.p99, "max": latency.max},
    )


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.add(histogram)
    return total


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1000, 4)
