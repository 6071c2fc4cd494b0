"""The smallest fleet that meets a promise and a p99, and what else could be had for the money.

plan = smallest_fleet(scenario, Goal(p99_s=0.8, agreement=0.97))
points = pareto(scenario, thresholds=(0.7, 0.8, 0.9), replicas=(1, 2, 4))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from costmodel.bill.simulated import mean_bill, month_bill, prices_of
from costmodel.engine.result import Result
from costmodel.engine.run import Progress, simulate_all, simulate_many
from costmodel.errors import BadGoal, BadScenario
from costmodel.inputs.scenario import Scenario, sweep, vary

MOST = 1024
"""No fleet above this is looked at."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a fleet has to keep, counted over ALL arrivals of every seed."""

    p99_s: float
    """99 % of all arrivals are answered within it; a refusal is late for ever."""
    agreement: float = 0.0
    """Share of the answers given that equal the teacher's."""
    most_degraded: float = 0.01
    """Share answered by an unsure student because the teacher could not be had."""

    def __post_init__(self) -> None:
        shares = (self.agreement, self.most_degraded)
        fine = 0 < self.p99_s < math.inf and all(0 <= share <= 1 for share in shares)
        if not fine:
            raise BadScenario(
                f"p99_s {self.p99_s:g}, agreement {self.agreement:g}, most_degraded "
                f"{self.most_degraded:g}: p99_s must be above 0, the others within 0 and 1"
            )

    def met(self, runs: Sequence[Result]) -> bool:
        """Whether every run keeps it."""
        return all(
            run.slo(self.p99_s) >= 0.99
            and run.agreement >= self.agreement
            and run.degraded_rate <= self.most_degraded
            for run in runs
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet that meets the goal in every seed, where one fewer of either does not."""

    scenario: Scenario
    replicas: int
    """Student replicas."""
    teacher_units: int
    """Concurrent calls (API) or replicas (hosted)."""
    runs: tuple[Result, ...]

    @property
    def usd_per_month(self) -> float | None:
        """The cascade on this fleet, the mean of the seeds; None: a price is missing."""
        return fleet_usd(self.runs)

    @property
    def spare(self) -> Scenario:
        """N + 1: the fleet still meets the goal when one machine of either kind is away."""
        hosted = self.scenario.teacher.kind == "hosted"
        more = teacher_of_size(self.scenario, self.teacher_units + 1) if hosted else {}
        return vary(self.scenario, {"student.replicas": self.replicas + 1, **more})


def fleet_usd(runs: Sequence[Result]) -> float | None:
    """US dollars a month of the cascade as it ran; None: a price is missing."""
    scenario = runs[0].scenario
    if scenario.student.price is None or scenario.teacher.price is None:
        return None
    prices = prices_of(scenario)
    return float(mean_bill([month_bill(run, prices) for run in runs]).cascade)


def teacher_of_size(scenario: Scenario, units: int) -> dict[str, int]:
    """What makes a teacher of so many units: slots of an API, or replicas and slots for them."""
    teacher = scenario.teacher
    if teacher.kind == "api":
        return {"teacher.max_concurrency": units}
    slots = max(teacher.max_concurrency, units * teacher.max_running)
    return {"teacher.replicas": units, "teacher.max_concurrency": slots}


def smallest_fleet(
    scenario: Scenario, goal: Goal, *, seeds: Sequence[int] = range(3), workers: int = 2
) -> Plan:
    """Find the fewest teacher units and then the fewest student replicas that meet the goal.

    Both searches double and bisect: more of either never makes it worse, seed by seed. An
    autoscaled student keeps its rule; the fixed number of replicas is searched instead.

    Raises:
        BadGoal: even the largest fleet does not meet it; says what is in the way.
    """
    fixed = vary(scenario, {"student.autoscaling": None})

    def runs(replicas: int, units: int) -> tuple[Result, ...]:
        place = vary(fixed, {"student.replicas": replicas, **teacher_of_size(fixed, units)})
        return simulate_many(place, seeds, workers=workers).results

    ample = _doubled(lambda n: goal.met(runs(n, n)), MOST)
    if ample is None:
        raise BadGoal(_obstacle(scenario, goal, runs(MOST, MOST)))
    units = _fewest(lambda n: goal.met(runs(ample, n)), ample)
    replicas = _fewest(lambda n: goal.met(runs(n, units)), ample)
    found = runs(replicas, units)
    return Plan(found[0].scenario, replicas, units, found)


def _doubled(met: Callable[[int], bool], most: int) -> int | None:
    n = 1
    while n <= most:
        if met(n):
            return n
        n *= 2
    return None


def _fewest(met: Callable[[int], bool], enough: int) -> int:
    low, high = 0, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if met(middle) else (middle, high)
    return high


def _obstacle(scenario: Scenario, goal: Goal, runs: Sequence[Result]) -> str:
    worst = min(runs, key=lambda run: run.slo(goal.p99_s))
    parts = []
    if worst.slo(goal.p99_s) < 0.99:
        teacher = worst.stages["teacher"].p99_s
        parts.append(
            f"only {worst.slo(goal.p99_s):.2%} of arrivals are answered within {goal.p99_s:g} s "
            f"(the teacher alone takes {teacher:.3g} s at its p99, asked for "
            f"{worst.escalation_rate:.1%} of them)"
        )
    if min(run.agreement for run in runs) < goal.agreement:
        best = min(run.agreement for run in runs)
        parts.append(f"agreement is {best:.4f}, below {goal.agreement:g}: raise the threshold")
    if max(run.degraded_rate for run in runs) > goal.most_degraded:
        rate = max(run.degraded_rate for run in runs)
        parts.append(f"{rate:.2%} of answers are degraded: the teacher's limits are in the way")
    return f"{scenario.name}: no fleet up to {MOST} meets the goal: " + "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a sweep: what it costs, how slow its slowest are, how right it is."""

    scenario: Scenario
    result: Result
    usd_per_month: float | None
    """None when a price is missing from the scenario."""
    p99_s: float
    agreement: float
    efficient: bool
    """No other place is at least as good in all three and better in one."""


def pareto(
    scenario: Scenario,
    thresholds: Sequence[float],
    replicas: Sequence[int] = (),
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> tuple[Point, ...]:
    """Simulate every threshold at every number of replicas and mark the efficient places.

    All places see the same requests. Thresholds need `quality.risk_coverage`.
    """
    axes: dict[str, Sequence[float]] = {"policy.threshold": thresholds}
    if replicas:
        axes["student.replicas"] = replicas
    places = list(sweep(scenario, axes))
    results = simulate_all(places, seed, workers=workers, progress=progress)
    priced = scenario.student.price is not None and scenario.teacher.price is not None
    bills = [
        float(month_bill(result, prices_of(result.scenario)).cascade) if priced else None
        for result in results
    ]
    figures = [
        (bill if bill is not None else 0.0, result.routes["all"].p99_s, -result.agreement)
        for bill, result in zip(bills, results, strict=True)
    ]
    return tuple(
        Point(
            result.scenario,
            result,
            bill,
            result.routes["all"].p99_s,
            result.agreement,
            not any(_dominates(other, mine) for other in figures),
        )
        for bill, result, mine in zip(bills, results, figures, strict=True)
    )


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
