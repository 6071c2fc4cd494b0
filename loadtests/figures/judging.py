"""Whether the limits of an SLO were kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from loadtests.figures.latency import LatencySummary
from loadtests.inputs.percentiles import MIN_SAMPLES, Percentile
from loadtests.inputs.slo import Slo


class Check(BaseModel):
    """One limit beside what was found; `found` is None where there was nothing to measure."""

    model_config = ConfigDict(frozen=True)

    name: str
    limit: float
    found: float | None
    passed: bool
    words: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What an SLO is judged on; None where nothing was measured."""

    failure_rate: float
    good_share: float
    escalation_rate: float | None
    degraded_rate: float | None
    usd_per_1k: float | None
    tokens_per_s: float | None
    latency: Mapping[str, LatencySummary]
    worst: Callable[[str, Percentile], tuple[float, int, float | None] | None]
    """The worst stretch for a route and percentile: first second, n and milliseconds."""


def judge(slo: Slo, found: Measured) -> Iterator[Check]:
    """Yield one check for each limit of the SLO."""
    yield _most("failure rate", slo.max_failure_rate, found.failure_rate)
    if slo.min_good_share is not None:
        yield Check(
            name="good share",
            limit=slo.min_good_share,
            found=found.good_share,
            passed=found.good_share >= slo.min_good_share,
            words=f"{found.good_share:.2%} of the requests were answered well and in time; at "
            f"least {slo.min_good_share:.2%} must be",
        )
    if slo.max_escalation_rate is not None:
        yield _most("escalation rate", slo.max_escalation_rate, found.escalation_rate)
    if slo.max_degraded_rate is not None:
        yield _most("degraded rate", slo.max_degraded_rate, found.degraded_rate)
    if slo.min_tokens_per_s is not None:
        found_tokens = found.tokens_per_s or 0.0
        yield Check(
            name="tokens per second",
            limit=slo.min_tokens_per_s,
            found=found.tokens_per_s,
            passed=found_tokens >= slo.min_tokens_per_s,
            words=f"{found_tokens:.1f} tokens per second were streamed; at least "
            f"{slo.min_tokens_per_s:g} must be",
        )
    if slo.max_usd_per_1k is not None:
        yield _most("USD per 1,000", slo.max_usd_per_1k, found.usd_per_1k, "{:.4f}")
    for route, limits in slo.latency_ms.items():
        for percentile, limit_ms in limits.items():
            known = found.latency.get(route)
            n, value = (known.n, known.at(percentile)) if known else (0, None)
            yield _judge_latency(f"{route} {percentile}", route, percentile, limit_ms, n, value)
    for route, limits in slo.worst_interval_ms.items():
        for percentile, limit_ms in limits.items():
            at_s, n, value = found.worst(route, percentile) or (0.0, 0, None)
            name = f"{route} {percentile} of the worst interval, from {at_s:g} s on"
            yield _judge_latency(name, route, percentile, limit_ms, n, value)


def _most(name: str, limit: float, found: float | None, form: str = "{:.2%}") -> Check:
    shown = "not known" if found is None else form.format(found)
    return Check(
        name=name,
        limit=limit,
        found=found,
        passed=found is not None and found <= limit,
        words=f"{name} was {shown}; at most {form.format(limit)} is allowed",
    )


def _judge_latency(
    name: str, route: str, percentile: Percentile, limit_ms: float, n: int, found: float | None
) -> Check:
    if n < MIN_SAMPLES[percentile]:
        passed = False
        words = (
            f"{n} answers on route {route} are too few for a {percentile}; at least "
            f"{MIN_SAMPLES[percentile]} are needed: raise rate or duration"
        )
    elif found is None:
        passed, words = False, f"{name}: so many requests failed that it is no answer at all"
    else:
        passed = found <= limit_ms
        words = f"{name} was {found:.2f} ms; at most {limit_ms:g} ms is allowed"
    return Check(name=name, limit=limit_ms, found=found, passed=passed, words=words)
