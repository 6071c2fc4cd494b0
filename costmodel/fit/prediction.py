"""From a short measurement of a running router to what it will do under a load it has not seen.

A load test at a few rates gives, for every request, its route and its latency. `fit` finds how
long one request occupies a worker (and how much that scatters) from how latency grows with rate;
what remains is overhead that occupies nothing. It may shrink with the rate, because a processor
that idles has to wake for each request, and it never grows. `predict` runs the simulator with
these figures.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from costmodel.engine.replications import Interval, interval
from costmodel.engine.result import Result
from costmodel.engine.run import simulate_all, simulate_many
from costmodel.errors import BadProfile
from costmodel.inputs.fleet import Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, Policy, Scenario
from costmodel.inputs.workload import DAY_S, Lengths, Workload

Floats = npt.NDArray[np.float64]
POINTS = 1000
"""Evenly spaced quantiles handed to the simulator."""
FITTED = (0.5, 0.9, 0.99)
LEAST_REQUESTS = 300


@dataclass(frozen=True)
class MeasuredRun:
    """One load test: what was offered and, for each answered request, route and seconds."""

    per_second: float
    seconds: float
    latency_s: dict[str, Floats]
    usd: dict[str, float]
    """Mean dollars of a request by route; a route without a known price is absent."""
    failed: int = 0
    doubts: tuple[str, ...] = ()
    """Why the load test itself says that it does not count."""

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return sum(len(each) for each in self.latency_s.values())

    @property
    def all_s(self) -> Floats:
        """Latencies of all routes together."""
        return np.concatenate(list(self.latency_s.values()))


def read_samples(
    path: Path, per_second: float, seconds: float, doubts: Sequence[str] = ()
) -> MeasuredRun:
    """Read the JSON lines that `raisehand loadtest --samples` wrote.

    Raises:
        BadProfile: a line is no sample, or too few requests were answered to tell anything.
    """
    latency: dict[str, list[float]] = {}
    usd: dict[str, list[float]] = {}
    failed = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            sample = json.loads(line)
            if sample["failure"] is not None or sample["route"] is None:
                failed += 1
                continue
            latency.setdefault(sample["route"], []).append(sample["latency_ms"] / 1000)
            if sample["cost_usd"] is not None:
                usd.setdefault(sample["route"], []).append(float(sample["cost_usd"]))
        except (ValueError, KeyError, TypeError) as error:
            raise BadProfile(
                f"{path.name} line {number} is not a load-test sample: {error}"
            ) from error
    run = MeasuredRun(
        per_second,
        seconds,
        {route: np.sort(np.array(each)) for route, each in latency.items()},
        {route: float(np.mean(each)) for route, each in usd.items() if each},
        failed,
        tuple(doubts),
    )
    if run.answered < LEAST_REQUESTS or "student" not in run.latency_s:
        raise BadProfile(
            f"{path.name}: {run.answered} requests were answered, "
            f"{len(run.latency_s.get('student', ()))} by the student; at least {LEAST_REQUESTS} "
            "with some by the student are needed: measure longer or at a higher rate"
        )
    return run


class FittedOn(BaseModel):
    """One run a profile was fitted on, and how well it reproduces it (in-sample)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_second: float
    answered: int
    failed: int
    student_ms: tuple[float, ...]
    """Measured p50, p90, p99 of the student's route."""
    fitted_ms: tuple[float, ...]
    overhead_s: tuple[float, ...] = ()
    """Evenly spaced quantiles of the overhead at this rate."""
    doubts: tuple[str, ...] = ()
    """Why the load test said that this run does not count; a profile fitted on it is a guess."""


class RouterProfile(BaseModel):
    """A running router as the simulator needs it. Fields end in their unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(ge=1)
    service_s: float = Field(ge=0)
    """Seconds one request occupies a worker."""
    service_cv: float = Field(ge=0)
    overhead_s: tuple[float, ...]
    """Evenly spaced quantiles of what does not grow with load (network, parsing, scheduling): at
    the lowest rate."""
    teacher_s: tuple[float, ...] = ()
    """Evenly spaced quantiles of a teacher call; empty when none was seen."""
    escalation_rate: float = Field(ge=0, le=1)
    requests: int
    """Requests behind the escalation rate."""
    usd: dict[str, float] = {}
    max_concurrency: int = Field(default=64, ge=1)
    teacher_timeout_s: float = 10.0
    audit_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of the student's answers that the teacher is asked about too, in its free slots."""
    fitted_on: tuple[FittedOn, ...]

    def overhead_at(self, per_second: float) -> tuple[float, ...]:
        """Return quantiles of the overhead at a rate, between those of the fitted rates."""
        known = [run for run in self.fitted_on if run.overhead_s]
        if len(known) < 2:
            return self.overhead_s
        rates = np.log([run.per_second for run in known])
        place = float(np.interp(math.log(per_second), rates, np.arange(len(known))))
        below = min(int(place), len(known) - 2)
        shares = np.linspace(0, 1, POINTS + 1)
        low, high = (
            np.interp(shares, np.linspace(0, 1, len(run.overhead_s)), run.overhead_s)
            for run in known[below : below + 2]
        )
        return tuple((low + (place - below) * (high - low)).tolist())


def load_profile(path: Path) -> RouterProfile:
    """Read a profile that `raisehand profile` wrote.

    Raises:
        BadProfile: it is missing or is no profile.
    """
    try:
        return RouterProfile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadProfile(f"profile {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BadProfile(f"profile {path}: {where or 'the file'}: {fault['msg']}") from error


def fit(
    runs: Sequence[MeasuredRun],
    *,
    workers: int = 1,
    max_concurrency: int = 64,
    teacher_timeout_s: float = 10.0,
    audit_rate: float = 0.0,
) -> RouterProfile:
    """Fit a router profile on load tests at two rates or more.

    A grid over (service_s, service_cv), refined twice, minimises the squared log errors of p50, p90
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
    best, cvs = (ceiling / 2, 1.0), np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    services = np.geomspace(ceiling / 50, ceiling, 14)
    for factor, step in ((1.25, 0.3), (1.12, 0.15), (1.05, 0.1)):
        errors = _errors(list(itertools.product(services, cvs)), bases, runs, workers)
        best = min(errors, key=errors.__getitem__)
        services = np.geomspace(best[0] / factor, min(best[0] * factor, ceiling), 7)
        cvs = np.unique(np.maximum(best[1] + step * np.arange(-2, 3), 0.0))
    service, cv = best
    overheads = [np.maximum(base - service, 0.0) for base in bases]
    teacher = [
        run.latency_s.get("teacher", np.empty(0)) - run.latency_s["student"].mean() for run in runs
    ]
    calls = np.sort(np.maximum(np.concatenate(teacher), 1e-6))
    answered = sum(run.answered for run in runs)
    escalated = answered - sum(len(run.latency_s["student"]) for run in runs)
    usd: dict[str, float] = {}
    for route in sorted({route for run in runs for route in run.usd}):
        usd[route] = float(np.mean([run.usd[route] for run in runs if route in run.usd]))
    fitted = [
        _student_quantiles(service, cv, overhead, run, workers)
        for overhead, run in zip(overheads, runs, strict=True)
    ]
    return RouterProfile(
        workers=workers,
        service_s=service,
        service_cv=cv,
        overhead_s=tuple(overheads[0].tolist()),
        teacher_s=tuple(_even(calls).tolist()) if calls.size else (),
        escalation_rate=escalated / answered,
        requests=answered,
        usd=usd,
        max_concurrency=max_concurrency,
        teacher_timeout_s=teacher_timeout_s,
        audit_rate=audit_rate,
        fitted_on=tuple(
            FittedOn(
                per_second=run.per_second,
                answered=run.answered,
                failed=run.failed,
                student_ms=tuple((np.quantile(run.latency_s["student"], FITTED) * 1000).tolist()),
                fitted_ms=tuple((quantiles * 1000).tolist()),
                overhead_s=tuple(np.round(overhead, 7).tolist()),
                doubts=run.doubts,
            )
            for run, quantiles, overhead in zip(runs, fitted, overheads, strict=True)
        ),
    )


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
    felt_per_s: float | None = None,
) -> LoadPrediction:
    """Simulate a load on a measured router.

    Args:
        profile: from `fit`.
        workload: arrivals; its lengths do not matter, the profile's requests are typical.
        duration_s: length of one run; shorter runs scatter more.
        seeds: one run each.
        felt_per_s: the rate around a typical request, which decides its overhead; by default the
            mean of the workload's rates, weighted by how many requests see each.
    """
    if felt_per_s is None:
        rates = workload.rates(duration_s)
        felt_per_s = float((rates**2).sum() / rates.sum())
    profile = profile.model_copy(update={"overhead_s": profile.overhead_at(felt_per_s)})
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
        student=_fleet(profile.service_s, profile.service_cv, profile.overhead_s, profile.workers),
        policy=Policy(escalation_rate=profile.escalation_rate, audit_rate=profile.audit_rate),
        teacher=teacher,
    )


def _fleet(service_s: float, cv: float, overhead: Sequence[float], workers: int) -> StudentFleet:
    return StudentFleet(
        fixed_s=service_s,
        per_token_s=0,
        noise=Noise(kind="lognormal", cv=cv) if cv else Noise(),
        replicas=workers,
        max_batch=1,
        overhead_s=tuple(overhead),
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


def _student_only(
    service: float, cv: float, overhead: Floats, run: MeasuredRun, workers: int
) -> Scenario:
    return Scenario(
        name="fit",
        workload=Workload(per_second=run.per_second, tokens=Lengths(mean=1)),
        days=max(run.seconds, 20_000 / run.per_second) / DAY_S,
        student=_fleet(service, cv, overhead.tolist(), workers),
        policy=Policy(escalation_rate=0, audit_rate=0, deadline_s=60),
    )


def _student_quantiles(
    service: float, cv: float, overhead: Floats, run: MeasuredRun, workers: int
) -> Floats:
    route = simulate_all([_student_only(service, cv, overhead, run, workers)], seed=1)[0].routes[
        "student"
    ]
    return np.array([route.p50_s, route.p90_s, route.p99_s])


def _errors(
    candidates: Sequence[tuple[float, float]],
    bases: Sequence[Floats],
    runs: Sequence[MeasuredRun],
    workers: int,
) -> dict[tuple[float, float], float]:
    """Sum of squared log errors of the fitted quantiles, by candidate."""
    scenarios = [
        _student_only(service, cv, np.maximum(base - service, 0.0), run, workers)
        for service, cv in candidates
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
