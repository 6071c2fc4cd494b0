"""What a measured router will do under a load that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.engine.replications import Interval, interval
from costmodel.engine.result import Result
from costmodel.engine.run import simulate_many
from costmodel.fit.measured import Floats
from costmodel.fit.router_profile import RouterProfile, workers_of
from costmodel.inputs.asking import Asking
from costmodel.inputs.fleet import Noise
from costmodel.inputs.scenario import ApiTeacher, Policy, Scenario
from costmodel.inputs.workload import Workload
from costmodel.units import DAY_S


@dataclass(frozen=True, slots=True)
class LoadPrediction:
    """What a load will see: means over seeds with 95 % intervals of one run as long as asked."""

    per_second: Interval
    answered_per_s: Interval
    p50_s: Interval
    p90_s: Interval
    p99_s: Interval
    student_p99_s: Interval
    escalation_rate: Interval
    refused_rate: Interval
    utilisation: Interval
    usd_per_1k: Interval | None
    """None when a route that answers has no known price."""
    extrapolated: bool
    """The load is above every rate the profile was fitted on."""


def predict(
    profile: RouterProfile,
    workload: Workload,
    duration_s: float,
    seeds: Sequence[int] = range(12),
    *,
    rates_per_s: Floats | None = None,
) -> LoadPrediction:
    """Simulate a load on a measured router.

    Args:
        profile: from `fit`.
        workload: arrivals; its lengths do not matter, the profile's requests are typical.
        duration_s: length of one run; shorter runs scatter more.
        seeds: one run each.
        rates_per_s: the rate in each of equal stretches, which decides the overhead of the
            requests in it; by default the workload's own.
    """
    rates = workload.rates(duration_s) if rates_per_s is None else rates_per_s
    profile = profile.model_copy(update={"overhead_s": profile.overhead_over(rates)})
    scenario = router_scenario(profile, workload, duration_s)
    results = simulate_many(scenario, seeds).results

    def over(figure: str) -> Interval:
        values = [_FIGURES[figure](result) for result in results]
        half = 1.96 * float(np.std(values, ddof=1)) if len(values) > 1 else math.inf
        mean = float(np.mean(values))
        return Interval(mean, mean - half, mean + half, len(values))

    prices = [_usd_per_1k(profile, result) for result in results]
    known = [price for price in prices if price is not None]
    return LoadPrediction(
        **{figure: over(figure) for figure in _FIGURES},
        usd_per_1k=interval(known) if len(known) == len(prices) else None,
        extrapolated=workload.rates(duration_s).max()
        > max(f.per_second for f in profile.fitted_on),
    )


_FIGURES = {
    "per_second": lambda run: run.offered_per_s,
    "answered_per_s": lambda run: run.answered_per_s,
    "p50_s": lambda run: run.routes["all"].p50_s,
    "p90_s": lambda run: run.routes["all"].p90_s,
    "p99_s": lambda run: run.routes["all"].p99_s,
    "student_p99_s": lambda run: run.routes["student"].p99_s,
    "escalation_rate": lambda run: run.escalation_rate,
    "refused_rate": lambda run: run.refused_rate,
    "utilisation": lambda run: run.student_utilisation,
}


def router_scenario(profile: RouterProfile, workload: Workload, duration_s: float) -> Scenario:
    """Lay a measured router out as a scenario: one request at a time on each worker."""
    teacher = ApiTeacher(
        max_concurrency=profile.max_concurrency,
        timeout_s=profile.teacher_timeout_s,
        asking=Asking(hedge=profile.hedge),
    )
    if profile.teacher_s:
        calls = np.array(profile.teacher_s)
        mean = float((calls[1:] + calls[:-1]).mean() / 2) if calls.size > 1 else float(calls[0])
        noise = Noise(kind="measured", quantiles=profile.teacher_s)
        teacher = teacher.model_copy(update={"latency_s": mean, "noise": noise})
    return Scenario(
        name="measured router",
        workload=workload,
        days=duration_s / DAY_S,
        student=workers_of(
            profile.service_s,
            profile.service_cv,
            profile.overhead_s,
            profile.workers,
            together=profile.together,
        ),
        policy=Policy(escalation_rate=profile.escalation_rate, audit_rate=profile.audit_rate),
        teacher=teacher,
    )


def _usd_per_1k(profile: RouterProfile, run: Result) -> float | None:
    total = 0.0
    # An answer was degraded before the teacher was asked: where none was seen it costs the student.
    usd = {"degraded": profile.usd["student"], **profile.usd} if "student" in profile.usd else {}
    for route in ("student", "teacher", "degraded"):
        if run.counts[route]:
            if route not in usd:
                return None
            total += usd[route] * run.counts[route]
    return total / run.counts["requests"] * 1000
