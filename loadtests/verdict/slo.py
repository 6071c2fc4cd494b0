"""What the target has to keep, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtests.errors import BadLoadSpec
from loadtests.inputs.spec import faults
from loadtests.verdict.percentiles import MIN_SAMPLES, Percentile

if TYPE_CHECKING:
    from loadtests.report.latency import Latency

Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

Limits = Mapping[str, Mapping[Percentile, Milliseconds]]
"""By route (`all`, `student`, `teacher`, …; streams: `first_token`, `token_gap`, `per_token`)."""


class Slo(BaseModel):
    """Limits of one load test.

    In route `all` a request that failed or was dropped counts as later than any answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_failure_rate: Share = 0.01
    latency_ms: Limits = {}
    """Over the whole run."""
    worst_interval_ms: Limits = {}
    """In every interval; neighbours are joined until they carry the percentile."""
    min_good_share: Share | None = None
    """Of the scheduled requests: answered, not degraded, within the deadline."""
    max_escalation_rate: Share | None = None
    max_degraded_rate: Share | None = None
    """Of the valid answers: the student's where the teacher should have spoken."""
    min_tokens_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Streams: words of all of them together."""
    max_usd_per_1k: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


def load_slo(**limits: object) -> Slo:
    """Build an SLO from limits of unknown quality.

    Raises:
        BadLoadSpec: names each field, what was found and what is allowed.
    """
    try:
        return Slo.model_validate(limits)
    except ValidationError as error:
        raise BadLoadSpec(f"SLO: {faults(error)}") from None


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
    latency: Mapping[str, Latency]
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
