"""One scenario, answered: the simulated month, the closed form beside it, doubts and alternatives.

The simulation counts what queues, retries, limits and bursts do; the closed form knows only means.
Where they differ, the difference is the answer to "what does the average hide?".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np

from costmodel.bill.feasibility import Feasibility, feasible_run
from costmodel.bill.machines import Fleet
from costmodel.bill.own_teacher import escalated_work, teacher_fleet
from costmodel.bill.projection import Projection, project
from costmodel.bill.rails import total
from costmodel.bill.simulated import (
    MonthBill,
    ScenarioPrices,
    failures_of,
    month_bill,
    one_off_usd,
    prices_of,
    retraining_usd,
)
from costmodel.bill.usage import every_request, wanted
from costmodel.bill.verdict import Money, Verdict, judge
from costmodel.engine.fields import confidence_curve
from costmodel.engine.result import Result
from costmodel.engine.run import Progress, simulate, simulate_all
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
    result: Result
    prices: ScenarioPrices
    bill: MonthBill
    projection: Projection
    uncertain: Uncertain

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
            usd = Decimal(repr(rival.usd))
            found.append(Saving(name, usd, low, mid, high, self._words(name)))
        return tuple(found)

    def _words(self, name: str) -> str:
        if name == LISTED:
            return self.projection.unit_prices["teacher"]
        if name == BEST:
            return self.projection.baselines[1].words
        return f"{self.prices.baselines[name].words}; adequate only if you checked it"

    @cached_property
    def feasibility(self) -> Feasibility:
        """What users get, beside what may fail and what was promised."""
        return feasible_run(self.result)

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
    scenario: Scenario, *, seed: int = 0, workers: int = 1, progress: Progress | None = None
) -> Study:
    """Simulate a scenario and price its month.

    Raises:
        BadScenario: it cannot be simulated, or a price is missing.
        UnknownPrice: a price nobody knows.
    """
    prices = prices_of(scenario)
    return _answer(simulate(scenario, seed, workers=workers, progress=progress), prices)


def compare(
    base: Scenario,
    axes: dict[str, list[object]],
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Study]:
    """Answer a scenario at every combination of the axes' values, on the same traffic.

    Raises:
        BadScenario: a value is not allowed, or a price is missing.
    """
    scenarios = list(sweep(base, axes))
    prices = [prices_of(scenario) for scenario in scenarios]
    results = simulate_all(scenarios, seed, workers=workers, progress=progress)
    return [_answer(result, price) for result, price in zip(results, prices, strict=True)]


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


def _answer(result: Result, prices: ScenarioPrices) -> Study:
    projection, bill = closed_form(result, prices), month_bill(result, prices)
    rivals = rivals_in(projection, bill)
    uncertain = quantify(projection, result.scenario.doubt, seed=result.seed, rivals=rivals)
    return Study(result.scenario, result, prices, bill, projection, uncertain)


def records(studies: Sequence[Study]) -> list[dict[str, float | str | bool | None]]:
    """One flat row of figures per scenario: what a spreadsheet wants."""
    rows: list[dict[str, float | str | bool | None]] = []
    for one in studies:
        result, saving = one.result, one.savings[0]
        row: dict[str, float | str | bool | None] = {"scenario": one.scenario.name}
        for rail in one.bill.rails:
            row[f"{rail.name}_usd_per_month"] = round(float(rail.usd_per_month), 2)
        row |= {
            "saving_usd_p10": round(saving.low, 2),
            "saving_usd": round(saving.mid, 2),
            "saving_usd_p90": round(saving.high, 2),
            "cost_ratio": round(one.cost_ratio, 6),
            "escalation_rate": round(result.escalation_rate, 6),
            "agreement": round(result.agreement, 6),
            "degraded_rate": round(result.degraded_rate, 6),
            "refused_rate": round(result.refused_rate, 6),
            "answers": one.verdict.answers,
            "keeps_promise": one.verdict.keeps_promise,
            "pays": one.verdict.pays,
            "p50_ms": round(result.routes["all"].p50_s * 1000, 3),
            "p99_ms": round(result.routes["all"].p99_s * 1000, 3),
            "student_utilisation": round(result.student_utilisation, 6),
            "requests_per_month": round(float(one.bill.requests)),
            "seed": result.seed,
        }
        rows.append(row)
    return rows
