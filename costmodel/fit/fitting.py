"""From a short measurement of a running router to what it will do under a load it has not seen.

A load test at a few rates gives, for every request, its route and its latency. `fit` finds how
long one request occupies a worker (and how much that scatters) from how latency grows with rate;
what remains is overhead that occupies nothing. It may shrink with the rate, because a processor
that idles has to wake for each request, and it never grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from costmodel.engine.run import simulate_all
from costmodel.errors import BadProfile
from costmodel.fit.calls import calls_alone
from costmodel.fit.measured import Floats, MeasuredRun
from costmodel.fit.router_profile import POINTS, FittedOn, RouterProfile, workers_of
from costmodel.inputs.asking import SLOTS, TIMEOUT_S
from costmodel.inputs.scenario import Policy, Scenario
from costmodel.inputs.workload import Lengths, Workload
from costmodel.units import DAY_S

FITTED = (0.5, 0.9, 0.99)


def fit(
    runs: Sequence[MeasuredRun],
    *,
    workers: int = 1,
    max_concurrency: int = SLOTS,
    teacher_timeout_s: float = TIMEOUT_S,
    hedge: bool = False,
    audit_rate: float = 0.0,
) -> RouterProfile:
    """Fit a router profile on load tests at two rates or more.

    Where a run came in clumps, also whether these are answered together. A grid over (service_s,
    service_cv), refined twice, minimises the squared log errors of p50, p90
    and p99 of the student's route at every rate, each simulated for as long as it was measured.

    Raises:
        BadProfile: fewer than two rates.
    """
    runs = sorted(runs, key=lambda run: run.per_second)
    if len({run.per_second for run in runs}) < 2:
        raise BadProfile(
            f"{len(runs)} run(s) at one rate; two rates or more show how latency grows"
        )
    bases = _bases(runs)
    ceiling = min(0.95 * workers / runs[-1].per_second, float(np.median(bases[0])))
    best, cvs = _Law(ceiling / 2, 1.0, False), np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    # Only clumps show whether they are answered together.
    kinds = (False, True) if any(run.gap_cv > 1 for run in runs) else (False,)
    services = np.geomspace(ceiling / 50, ceiling, 14)
    for factor, step in ((1.25, 0.3), (1.12, 0.15), (1.05, 0.1)):
        laws = list(itertools.starmap(_Law, itertools.product(services, cvs, kinds)))
        errors = _errors(laws, bases, runs, workers)
        best = min(errors, key=errors.__getitem__)
        kinds = (best.together,)
        services = np.geomspace(best.service_s / factor, min(best.service_s * factor, ceiling), 7)
        cvs = np.unique(np.maximum(best.cv + step * np.arange(-2, 3), 0.0))
    service = best.service_s
    overheads = [np.maximum(base - service, 0.0) for base in bases]
    calls = calls_alone(runs, max_concurrency, audit_rate)
    answered = sum(run.answered for run in runs)
    escalated = answered - sum(len(run.latency_s["student"]) for run in runs)
    usd: dict[str, float] = {}
    for route in sorted({route for run in runs for route in run.usd}):
        usd[route] = float(np.mean([run.usd[route] for run in runs if route in run.usd]))
    fitted = [
        _student_quantiles(best, overhead, run, workers)
        for overhead, run in zip(overheads, runs, strict=True)
    ]
    return RouterProfile(
        workers=workers,
        service_s=service,
        service_cv=best.cv,
        together=best.together,
        overhead_s=tuple(overheads[0].tolist()),
        teacher_s=tuple(_even(calls).tolist()) if calls.size else (),
        escalation_rate=escalated / answered,
        requests=answered,
        usd=usd,
        max_concurrency=max_concurrency,
        teacher_timeout_s=teacher_timeout_s,
        hedge=hedge,
        audit_rate=audit_rate,
        fitted_on=tuple(
            FittedOn(
                per_second=run.per_second,
                answered=run.answered,
                failed=run.failed,
                student_ms=tuple((np.quantile(run.latency_s["student"], FITTED) * 1000).tolist()),
                fitted_ms=tuple((quantiles * 1000).tolist()),
                overhead_s=() if run.gap_cv > 1 else tuple(np.round(overhead, 7).tolist()),
                doubts=run.doubts,
            )
            for run, quantiles, overhead in zip(runs, fitted, overheads, strict=True)
        ),
    )


class _Law(NamedTuple):
    """How long a worker takes for a request, how that scatters, and who leaves together."""

    service_s: float
    cv: float
    together: bool


def _even(values: Floats) -> Floats:
    """Evenly spaced quantiles of sorted values, at most POINTS + 1 of them."""
    n = min(POINTS, max(1, values.size - 1))
    spaced: Floats = np.quantile(values, np.linspace(0, 1, n + 1))
    return spaced


def _bases(runs: Sequence[MeasuredRun]) -> list[Floats]:
    """Quantiles of service and overhead at each rate, rates ascending.

    At most what was measured there, and at most those of any lower rate: what grew is queueing.
    """
    bases: list[Floats] = []
    for run in runs:
        here = _even(run.latency_s["student"])
        if bases:
            shares = np.linspace(0, 1, bases[0].size)
            here = np.minimum(bases[-1], np.quantile(run.latency_s["student"], shares))
        bases.append(here)
    return bases


def _student_only(law: _Law, overhead: Floats, run: MeasuredRun, workers: int) -> Scenario:
    arrivals: Literal["poisson", "gamma"] = "gamma" if run.gap_cv > 1 else "poisson"
    return Scenario(
        name="fit",
        workload=Workload(
            per_second=run.per_second, arrivals=arrivals, cv=run.gap_cv, tokens=Lengths(mean=1)
        ),
        days=max(run.seconds, 20_000 / run.per_second) / DAY_S,
        student=workers_of(
            law.service_s, law.cv, overhead.tolist(), workers, together=law.together
        ),
        policy=Policy(escalation_rate=0, audit_rate=0, deadline_s=60),
    )


def _student_quantiles(law: _Law, overhead: Floats, run: MeasuredRun, workers: int) -> Floats:
    [result] = simulate_all([_student_only(law, overhead, run, workers)], seed=1)
    route = result.routes["student"]
    return np.array([route.p50_s, route.p90_s, route.p99_s])


def _errors(
    candidates: Sequence[_Law],
    bases: Sequence[Floats],
    runs: Sequence[MeasuredRun],
    workers: int,
) -> dict[_Law, float]:
    """Sum of squared log errors of the fitted quantiles, by candidate."""
    scenarios = [
        _student_only(law, np.maximum(base - law.service_s, 0.0), run, workers)
        for law in candidates
        for base, run in zip(bases, runs, strict=True)
    ]
    results = iter(simulate_all(scenarios, seed=1))
    errors = {}
    for candidate in candidates:
        total = 0.0
        for run in runs:
            route = next(results).routes["student"]
            seen = np.array([route.p50_s, route.p90_s, route.p99_s])
            measured = np.quantile(run.latency_s["student"], FITTED)
            total += float((np.log(np.maximum(seen, 1e-9) / measured) ** 2).sum())
        errors[candidate] = total
    return errors
