"""What the target has to keep, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtests.errors import BadLoadSpec
from loadtests.spec import faults

Percentile = Literal["p50", "p90", "p99", "max"]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

MIN_SAMPLES: Mapping[Percentile, int] = {"p50": 20, "p90": 100, "p99": 1000, "max": 1}
"""At least ten samples beyond the percentile; with fewer it is a guess, and a guess is no pass."""


class Slo(BaseModel):
    """Limits of one load test.

    `latency_ms` is by route (`all`, `student`, `teacher`, …) and percentile. In `all` a request
    that failed or was dropped counts as later than any answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_failure_rate: Share = 0.01
    latency_ms: Mapping[str, Mapping[Percentile, Milliseconds]] = {}


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


class Measured(BaseModel):
    """What a percentile is judged on: values by percentile in ms (None: unanswered), and n."""

    model_config = ConfigDict(frozen=True)

    n: int
    values: Mapping[Percentile, float | None]


def judge(slo: Slo, failure_rate: float, latency: Mapping[str, Measured]) -> Iterator[Check]:
    """Yield one check for each limit of the SLO."""
    yield Check(
        name="failure rate",
        limit=slo.max_failure_rate,
        found=failure_rate,
        passed=failure_rate <= slo.max_failure_rate,
        words=f"{failure_rate:.2%} failed; at most {slo.max_failure_rate:.2%} may",
    )
    for route, limits in slo.latency_ms.items():
        for percentile, limit_ms in limits.items():
            yield _judge_latency(route, percentile, limit_ms, latency.get(route))


def _judge_latency(
    route: str, percentile: Percentile, limit_ms: float, measured: Measured | None
) -> Check:
    name = f"{route} {percentile}"
    n = measured.n if measured else 0
    found = measured.values[percentile] if measured else None
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
