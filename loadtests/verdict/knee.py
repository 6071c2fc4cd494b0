"""The highest rate that a server carries: doubled until it breaks, then bisected.

The knee is a rate at which the run counted and every limit of the SLO was kept, within 5 % of one
at which it was not. Past it goodput should plateau, not collapse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from loadtests.generator.shape import Shape
from loadtests.inputs.spec import LoadSpec
from loadtests.report.figures_of_run import LoadReport

TOLERANCE = 0.05
MOST_RUNS = 16


class Probe(BaseModel):
    """One rate that was tried."""

    model_config = ConfigDict(frozen=True)

    rate: float
    achieved_rps: float
    goodput_rps: float
    p99_ms: float | None
    failure_rate: float
    passed: bool
    valid: bool
    why: str


class Knee(BaseModel):
    """What the search found; `limited_by_generator`: the server was not the first to fail."""

    model_config = ConfigDict(frozen=True)

    rate: float | None
    """None: even the first rate failed."""
    limited_by_generator: bool
    probes: tuple[Probe, ...]
    past: tuple[Probe, ...] = ()
    """At multiples of the knee."""


def find_knee(
    spec: LoadSpec,
    run: Callable[[LoadSpec], LoadReport],
    *,
    past: Sequence[float] = (),
    told: Callable[[Probe], None] = lambda _: None,
) -> Knee:
    """Search from `spec.rate` upwards; each probe takes the spec's duration.

    Args:
        spec: the test; its shape is ignored, a knee is found at steady rates.
        run: runs one load test, normally `run_load` with its SLO.
        past: multiples of the knee that are measured afterwards, e.g. 1.2, 2, 5.
        told: is called after each probe.
    """
    probes: list[Probe] = []

    def holds(rate: float) -> bool:
        probe = _probe(run(spec.model_copy(update={"rate": rate, "shape": Shape()})))
        probes.append(probe)
        told(probe)
        return probe.passed

    low, high = 0.0, spec.rate
    while len(probes) < MOST_RUNS and holds(high):
        low, high = high, 2 * high
    while low and high > low * (1 + TOLERANCE) and len(probes) < MOST_RUNS:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    first_broken = min((p for p in probes if not p.passed), key=lambda p: p.rate, default=None)
    searched = tuple(sorted(probes, key=lambda p: p.rate))
    beyond = []
    for factor in past if low else ():
        spec_beyond = spec.model_copy(update={"rate": low * factor, "shape": Shape()})
        probe = _probe(run(spec_beyond))
        told(probe)
        beyond.append(probe)
    return Knee(
        rate=low or None,
        limited_by_generator=first_broken is not None and not first_broken.valid,
        probes=searched,
        past=tuple(beyond),
    )


def _probe(report: LoadReport) -> Probe:
    return Probe(
        rate=report.spec.rate,
        achieved_rps=report.achieved_rps,
        goodput_rps=report.goodput_rps,
        p99_ms=report.latency_ms["all"].p99,
        failure_rate=report.failure_rate,
        passed=report.passed,
        valid=report.valid,
        why="; ".join(report.faults),
    )
