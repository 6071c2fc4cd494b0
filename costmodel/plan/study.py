"""One scenario, answered: the simulated month, the closed form beside it, doubts and alternatives.

The simulation counts what queues, retries, limits and bursts do; the closed form knows only means.
Where they differ, the difference is the answer to "what does the average hide?".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, partial

import numpy as np
from scipy.special import stdtrit

from costmodel.bill.feasibility import Feasibility, feasible_run
from costmodel.bill.machines import Fleet
from costmodel.bill.own_teacher import escalated_work, teacher_fleet
from costmodel.bill.projection import Projection, project
from costmodel.bill.rails import total
from costmodel.bill.simulated import (
    MonthBill,
    ScenarioPrices,
    failures_of,
    mean_bill,
    month_bill,
    one_off_usd,
    prices_of,
    retraining_usd,
)
from costmodel.bill.usage import every_request, wanted
from costmodel.bill.verdict import Money, Verdict, judge
from costmodel.engine.fields import confidence_curve
from costmodel.engine.on_ray import RayScenarios
from costmodel.engine.result import Result
from costmodel.engine.run import Progress, simulate, simulate_all, simulate_many
from costmodel.inputs.assumptions import Counts, OneOff, Operation, Prices, TeacherUsage, Traffic
from costmodel.inputs.scenario import Scenario, sweep
from costmodel.plan.pareto import ParetoPoint, pareto_points
from costmodel.uncertainty.draws import MoneyModel, Rival, Uncertain, quantify, rivals_of


@dataclass(frozen=True, slots=True)
class Saving:
    """A month's saving against one alternative, P10 to P90; negative is a loss."""

    against: str
    usd_per_month: Decimal
    low: float
    mid: float
    high: float
    words: str


@dataclass(frozen=True)
class Study:
    """Everything a report says about one scenario."""

    scenario: Scenario
    results: tuple[Result, ...]
    """One run for each seed."""
    prices: ScenarioPrices
    bills: tuple[MonthBill, ...]
    """Of each run."""
    projection: Projection
    uncertain: Uncertain

    @property
    def result(self) -> Result:
        """The first seed's run: for what is no figure, the day's course and the timeline."""
        return self.results[0]

    @cached_property
    def bill(self) -> MonthBill:
        """The month: the mean of all seeds."""
        return mean_bill(self.bills)

    def mean(self, of: Callable[[Result], float]) -> float:
        """A figure over all seeds."""
        return float(np.mean([of(result) for result in self.results]))

    @property
    def cost_ratio(self) -> float:
        """The simulated cascade over teacher-only."""
        return float(self.bill.cascade / self.bill.teacher_only)

    @cached_property
    def savings(self) -> tuple[Saving, ...]:
        """Against the teacher as priced, at its best known terms, and every other model named.

        The middle is simulated; P10 and P90 are the closed form's spread around it, each
        alternative on the same draws as the cascade.
        """
        model = MoneyModel(self.projection)
        rivals = rivals_in(self.projection, self.bill)
        found = []
        for name, rival in rivals.items():
            spread = self.uncertain.savings[name]
            closed = float(model.saving(model.middle, rival))
            asked = float(total(self.bill.asked)) * (1 - rival.asked_factor)
            mid = rival.usd - float(self.bill.cascade) + asked
            low, high = mid + spread.p10 - closed, mid + spread.p90 - closed
            usd, noise = Decimal(repr(rival.usd)), self._noise(name)
            low, high = mid - math.hypot(mid - low, noise), mid + math.hypot(high - mid, noise)
            found.append(Saving(name, usd, low, mid, high, self._words(name)))
        return tuple(found)

    def _noise(self, name: str) -> float:
        """How far chance in the runs moves the mean saving: P90 over its middle, by Student's t."""
        n = len(self.bills)
        if n < 2:
            return 0.0
        seen = []
        for bill in self.bills:
            rival = rivals_in(self.projection, bill)[name]
            asked = float(total(bill.asked)) * (1 - rival.asked_factor)
            seen.append(rival.usd - float(bill.cascade) + asked)
        return float(stdtrit(n - 1, 0.9) * np.std(seen, ddof=1) / math.sqrt(n))

    def _words(self, name: str) -> str:
        if name == LISTED:
            return self.projection.unit_prices["teacher"]
        if name == BEST:
            return self.projection.baselines[1].words
        return f"{self.prices.baselines[name].words}; adequate only if you checked it"

    @cached_property
    def feasibility(self) -> Feasibility:
        """What users get, beside what may fail and what was promised: of the worst seed."""
        found = [feasible_run(result) for result in self.results]
        return min(found, key=lambda one: (one.answers or False, one.agreement.mid))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the inputs and the run, one sentence each."""
        return self.prices.warnings + self.result.warnings

    @cached_property
    def verdict(self) -> Verdict:
        """Whether it answers, keeps its promise and pays."""
        listed = self.savings[0]
        money = Money(
            listed.low,
            listed.mid,
            listed.high,
            tuple(one.against for one in self.savings if one.mid < 0),
            given="the teacher as priced",
            all_named="every alternative named",
        )
        return judge(self.feasibility, money)

    @cached_property
    def pareto(self) -> tuple[ParetoPoint, ...]:
        """Cost and agreement over the thresholds of the risk–coverage curve."""
        return pareto_points(self.projection, self.scenario.quality.risk_coverage)


LISTED, BEST = "teacher", "teacher, best known terms"


def rivals_in(projection: Projection, bill: MonthBill) -> dict[str, Rival]:
    """What the simulated cascade is compared with, by name."""
    closed = rivals_of(projection)
    best, listed = closed["teacher_best_terms"], closed["teacher_list"]
    usd = float(bill.teacher_only)
    found = {
        LISTED: Rival(usd, teacher=True),
        BEST: Rival(usd * best.usd / listed.usd, True, best.asked_factor),
    }
    return found | {name: Rival(float(usd)) for name, usd in bill.baselines.items()}


def study(
    scenario: Scenario,
    *,
    seed: int = 0,
    seeds: int = 1,
    workers: int = 1,
    progress: Progress | None = None,
) -> Study:
    """Simulate a scenario with `seeds` seeds from `seed` on and price its month.

    Raises:
        BadScenario: it cannot be simulated, or a price is missing.
        UnknownPrice: a price nobody knows.
    """
    prices = prices_of(scenario)
    if seeds == 1:
        return _answer((simulate(scenario, seed, workers=workers, progress=progress),), prices)
    numbers = range(seed, seed + seeds)
    runs = simulate_many(scenario, numbers, workers=workers, progress=progress)
    return _answer(runs.results, prices)


def compare(
    base: Scenario,
    axes: dict[str, list[object]],
    *,
    seed: int = 0,
    seeds: int = 1,
    workers: int = 2,
    progress: Progress | None = None,
    cluster: RayScenarios | None = None,
) -> list[Study]:
    """Answer a scenario at every combination of the axes' values, on the same traffic.

    No axes are one combination. A run is the same on `workers` threads and on a cluster.

    Raises:
        BadScenario: a value is not allowed, or a price is missing.
    """
    return studies(
        list(sweep(base, axes)),
        seed=seed,
        seeds=seeds,
        workers=workers,
        progress=progress,
        cluster=cluster,
    )


def studies(
    scenarios: Sequence[Scenario],
    *,
    seed: int = 0,
    seeds: int = 1,
    workers: int = 2,
    progress: Progress | None = None,
    cluster: RayScenarios | None = None,
) -> list[Study]:
    """Answer several scenarios, each with the same seeds.

    Raises:
        BadScenario: a price is missing.
    """
    prices = [prices_of(scenario) for scenario in scenarios]
    done = 0

    def told(of_this_seed: int) -> None:
        if progress is not None:
            progress(done + of_this_seed)

    play = cluster.simulate_all if cluster else partial(simulate_all, workers=workers)
    runs = []
    for k in range(seeds):
        runs.append(play(scenarios, seed + k, progress=told))
        done += sum(result.counts["requests"] for result in runs[-1])
    by_scenario = zip(*runs, strict=True)
    return [_answer(results, price) for results, price in zip(by_scenario, prices, strict=True)]


def closed_form(result: Result, prices: ScenarioPrices) -> Projection:
    """Project the month from the run's mean rates alone: no queue, no burst, no limit."""
    scenario, counts = result.scenario, result.counts
    bill = month_bill(result, prices)
    rows = scenario.quality.rows
    escalated = round(result.escalation_rate * rows)
    wrong = min(round((1 - result.agreement) * rows), rows - escalated)
    every, asked = every_request(result), wanted(result)
    longer = asked if asked.requests else None
    calls = counts["teacher_calls"] / asked.requests if asked.requests else 1.0
    cheapest = min(bill.baselines, key=lambda name: bill.baselines[name], default=None)
    return project(
        Counts(rows, escalated, wrong),
        TeacherUsage(
            every(counts),
            longer,
            int(scenario.teacher.prompt_tokens),
            scenario.teacher.cache_ttl_s,
            escalated_work(result),
        ),
        Prices(prices.teacher, prices.student, prices.baselines[cheapest] if cheapest else None),
        Traffic(bill.requests),
        fleet=Fleet(min_machines=bill.student.machines, peak_to_mean=1.0, max_utilisation=1.0),
        teacher_fleet=teacher_fleet(scenario, result),
        one_off=OneOff(*one_off_usd(result, prices.teacher)),
        operation=Operation(
            scenario.policy.audit_rate,
            max(calls, 1.0),
            retraining_usd(scenario, result, prices.teacher, every),
            scenario.policy.audit_processing,
            failures_of(result),
        ),
        starts=scenario.start,
    )


def chosen_point(study: Study) -> ParetoPoint:
    """The point that was simulated."""
    threshold = study.scenario.policy.threshold
    if threshold is None:
        threshold = _threshold_of(study)
    return ParetoPoint(
        threshold, study.result.escalation_rate, study.result.agreement, study.cost_ratio
    )


def _threshold_of(study: Study) -> float:
    rate, quality = study.scenario.policy.escalation_rate, study.scenario.quality
    if rate is None or not quality.risk_coverage:
        return float("nan")
    confidence, _ = confidence_curve(quality)
    return float(np.interp(rate, np.linspace(0, 1, confidence.size), confidence))


def _answer(results: tuple[Result, ...], prices: ScenarioPrices) -> Study:
    first = results[0]
    bills = tuple(month_bill(result, prices) for result in results)
    projection = closed_form(first, prices)
    rivals = rivals_in(projection, mean_bill(bills))
    uncertain = quantify(projection, first.scenario.doubt, seed=first.seed, rivals=rivals)
    return Study(first.scenario, results, prices, bills, projection, uncertain)
