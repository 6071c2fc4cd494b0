"""From a simulated run to a month's bill: every rail, line by line, dated prices integrated.

The run counts tokens and calls in windows of time; a month repeats the run until it has 730 hours.
What traffic pays for is scaled by the traffic of that month over the traffic of the run, so that
growth, a week's shape and half a simulated day come out right; machines are scaled by time. A price
that changes on a date or with the hour is applied to each window when it happens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache

import numpy as np

from costmodel.bill.line import Line
from costmodel.bill.machines import Fleet, MachineBill, rented
from costmodel.bill.own_teacher import asked_bill, everything_bill, own_price, teacher_fleet
from costmodel.bill.rails import Rail, RailName, failure_lines, lines_alone, mean_rails, rail, total
from costmodel.bill.usage import Use, billed, every_request, mean_tokens
from costmodel.engine.fields import policy_of
from costmodel.engine.result import Result
from costmodel.errors import BadScenario
from costmodel.inputs.assumptions import Failures
from costmodel.inputs.scenario import Scenario
from costmodel.inputs.workload import WINDOW_S, Workload
from costmodel.money.pricebook import old_prices, price_of, processed
from costmodel.money.pricing import (
    MONTH_S,
    SECONDS_PER_HOUR,
    MachinePrice,
    Price,
    PriceSpec,
    Processing,
    now,
)
from costmodel.money.rates import ApiPrice


@dataclass(frozen=True)
class ScenarioPrices:
    """The prices a scenario names, looked up once."""

    teacher: Price
    student: MachinePrice
    baselines: dict[str, Price]
    warnings: tuple[str, ...] = ()
    """What is odd about them."""


@dataclass(frozen=True)
class MonthBill:
    """A month of the simulated run on every rail."""

    rails: tuple[Rail, ...]
    student: MachineBill
    requests: Decimal
    """Requests of the month."""
    baselines: dict[str, Decimal]
    """US dollars a month of asking each other model everything."""

    @property
    def asked(self) -> tuple[Line, ...]:
        """What the cascade's own calls of the teacher cost."""
        cascade = next(r for r in self.rails if r.name == "cascade")
        return tuple(line for line in cascade.lines if line.name.startswith("teacher"))

    @property
    def teacher_only(self) -> Decimal:
        """US dollars a month of asking the teacher everything."""
        return self.rails[0].usd_per_month

    @property
    def cascade(self) -> Decimal:
        """US dollars a month of the cascade."""
        return next(r.usd_per_month for r in self.rails if r.name == "cascade")


def prices_of(scenario: Scenario) -> ScenarioPrices:
    """Look up every price of a scenario as of its start.

    Raises:
        BadScenario: the teacher or the student has no price, or the student none by the hour.
        UnknownPrice: a price nobody knows.
    """

    def priced(spec: PriceSpec) -> Price:
        return price_of(spec, at=scenario.start, own=scenario.prices)

    student = priced(_given(scenario, scenario.student.price, "student"))
    if not isinstance(student, MachinePrice):
        raise BadScenario(
            f"{scenario.name}: student.price has to be hourly (machine or usd_per_hour): the "
            "scenario's student runs on replicas"
        )
    one = Decimal(repr(round(replica_rate(scenario), 6)))
    given = priced(_given(scenario, scenario.teacher.price, "teacher"))
    teacher, warnings = own_price(scenario, given)
    others = {name: priced(spec) for name, spec in scenario.baselines.items()}
    old = old_prices((given, student, *others.values()), now().date())
    return ScenarioPrices(
        teacher, replace(student, requests_per_second=one), others, (*warnings, *old)
    )


def replica_rate(scenario: Scenario) -> float:
    """Requests per second that one replica carries with full batches."""
    fleet = scenario.student
    tokens = mean_tokens(scenario)
    batch = max(1.0, min(fleet.max_batch, fleet.max_batch_tokens / max(tokens, 1.0)))
    seconds = fleet.fixed_s + batch * (fleet.per_request_s + fleet.per_token_s * tokens)
    return batch / seconds if seconds > 0 else math.inf


def month_bill(result: Result, prices: ScenarioPrices) -> MonthBill:
    """Price a run and scale it to a month of 730 hours.

    Raises:
        BadScenario: nothing arrived.
    """
    scenario = result.scenario
    if not result.counts["requests"]:
        raise BadScenario(f"{scenario.name}: no request arrived; simulate more time or traffic")
    requests = Decimal(repr(_expected(scenario.workload, MONTH_S)))
    student = _student(result, prices.student)
    every = every_request(result)
    everything = _teacher_only(result, prices.teacher, every, requests)
    teacher_only = total(everything)
    failures = failures_of(result)
    lines = (
        *student.lines,
        *_teacher_lines(result, prices.teacher, every),
        *failure_lines(failures, requests),
    )
    bills: dict[RailName, tuple[Line, ...]] = {
        "teacher_only": everything,
        "student_only": lines_alone(student, failures, requests),
        "cascade": lines,
    }
    baselines = {
        name: _other_usd(result, price, every, requests) for name, price in prices.baselines.items()
    }
    if baselines:
        cheapest = min(baselines, key=lambda name: baselines[name])
        line = Line(name="decision API, every request", usd=baselines[cheapest], detail=cheapest)
        bills["decision_api"] = (line,)
    rails = tuple(rail(name, lines, requests, teacher_only) for name, lines in bills.items())
    return MonthBill(rails, student, requests, baselines)


def mean_bill(bills: Sequence[MonthBill]) -> MonthBill:
    """The bill of several seeds: the mean of each line."""
    first, n = bills[0], len(bills)
    if n == 1:
        return first
    zero = Decimal(0)
    student = {
        name: sum((getattr(one.student, name) for one in bills), zero) / n
        for name in ("marginal_usd", "provisioned_usd")
    }
    return MonthBill(
        mean_rails([one.rails for one in bills]),
        first.student.model_copy(update=student),
        first.requests,
        {name: sum((b.baselines[name] for b in bills), zero) / n for name in first.baselines},
    )


def failures_of(result: Result) -> Failures:
    """What went wrong in a run, and what a student alone would have got wrong."""
    scenario = result.scenario
    return Failures(
        wrong=result.counts["disagreements"] / result.counts["requests"],
        refused=result.refused_rate,
        wrong_usd=Decimal(repr(scenario.cost_of_wrong_answer)),
        refused_usd=Decimal(repr(scenario.cost_of_refusal)),
        wrong_alone=float(np.mean(policy_of(scenario)["disagreement"])),
    )


def month_usd(result: Result, price: Price, use: Use) -> Decimal:
    """Price what `use` reads from each window's counts, over a month of repeated runs."""
    factor = traffic_factor(result)
    if not (isinstance(price, ApiPrice) and price.changes):
        return price.cost(use(result.counts), result.scenario.start).usd * factor
    total = Decimal(0)
    usages = [(window, use(window.counts)) for window in result.timeline]
    for repeat in range(math.ceil(MONTH_S / result.seconds)):
        for window, usage in usages:
            begins = repeat * result.seconds + window.start_s
            part = min(max((MONTH_S - begins) / window.seconds, 0.0), 1.0)
            if part > 0 and usage.requests:
                at = result.scenario.start + timedelta(seconds=begins)
                total += price.cost(usage, at).usd * Decimal(repr(part))
    return total * factor * Decimal(repr(result.seconds)) / MONTH_S


def traffic_factor(result: Result) -> Decimal:
    """Expected requests of the 730 hours from the start, over those that the run saw.

    How many arrive in a short run is chance, more so with bursts; the file says how many come.
    """
    month = Decimal(repr(_expected(result.scenario.workload, MONTH_S)))
    return month / result.counts["requests"]


# A trace is a file: read it once, not for every line of the bill.
@lru_cache(maxsize=64)
def _expected(workload: Workload, seconds: float) -> float:
    rates = workload.rates(seconds)
    last = seconds - WINDOW_S * (rates.size - 1)
    return float(rates[:-1].sum() * WINDOW_S + rates[-1] * last)


def _given(scenario: Scenario, spec: PriceSpec | None, who: str) -> PriceSpec:
    if spec is None:
        raise BadScenario(
            f"{scenario.name}: {who}.price is missing; give one, e.g. "
            + ("model: openai:gpt-4o" if who == "teacher" else "machine: aws:c7i.large")
        )
    return spec


def _student(result: Result, price: MachinePrice) -> MachineBill:
    each = price.usd_per_hour / SECONDS_PER_HOUR
    paid, busy = result.student_paid_s, min(result.student_busy_s, result.student_paid_s)
    provisioned = each * Decimal(repr(paid)) * MONTH_S / Decimal(repr(result.seconds))
    marginal = each * Decimal(repr(busy)) * traffic_factor(result)
    fleet = result.scenario.student
    return MachineBill(
        who="student",
        machines=max(1, round(paid / result.seconds)),
        min_machines=fleet.autoscaling.min_replicas if fleet.autoscaling else fleet.replicas,
        requests_per_machine=float(price.requests_per_second) * MONTH_S,
        utilisation=busy / paid if paid else 0.0,
        marginal_usd=min(marginal, provisioned),
        provisioned_usd=provisioned,
    )


def _teacher_only(result: Result, price: Price, every: Use, requests: Decimal) -> tuple[Line, ...]:
    if isinstance(price, MachinePrice):
        return everything_bill(result, price, requests).lines
    return (Line(name="teacher, every request", usd=month_usd(result, price, every)),)


def _other_usd(result: Result, price: Price, every: Use, requests: Decimal) -> Decimal:
    """US dollars a month of asking another model everything, on machines for the same peak."""
    if not isinstance(price, MachinePrice):
        return month_usd(result, price, every)
    same = teacher_fleet(result.scenario, result).everything
    fleet = Fleet(1, same.peak_to_mean, same.max_utilisation)
    return rented("model", price, requests, fleet).provisioned_usd


def _teacher_lines(result: Result, price: Price, every: Use) -> tuple[Line, ...]:
    scenario, counts = result.scenario, result.counts
    lines: list[Line] = []
    if isinstance(price, MachinePrice):
        lines += asked_bill(result, price, traffic_factor(result)).lines
    else:
        asked = month_usd(result, price, billed(result, ""))
        calls, lost = counts["teacher_calls"], counts["lost_calls"]
        wasted = month_usd(result, price, billed(result, "lost_")) if lost else Decimal(0)
        waits = scenario.policy.audit_processing
        audits = processed(price, waits)
        lines += [
            Line(
                name="teacher, escalations",
                usd=asked - wasted,
                detail=f"{result.escalation_rate:.2%} of requests",
            ),
            Line(
                name="teacher, audits",
                usd=month_usd(result, audits, billed(result, "audit_")),
                detail=f"{scenario.policy.audit_rate:.2%} of kept answers{_on(waits)}",
            ),
        ]
        if wasted:
            how = f"{lost:,} of {calls:,} billed calls of the run, audits apart"
            lines.append(Line(name="teacher, retried and cancelled", usd=wasted, detail=how))
    monthly = retraining_usd(scenario, result, price, every)
    if monthly:
        how = f"{scenario.one_off.retrainings_per_month:g} a month: labels and training"
        lines.append(Line(name="retraining, monitoring", usd=monthly, detail=how))
    return tuple(lines)


def _on(processing: Processing | None) -> str:
    return f", {processing} price" if processing else ""


def labelling_usd(scenario: Scenario, result: Result, price: Price, every: Use) -> Decimal:
    """What asking the teacher for all labels of one student costs."""
    usage = every(result.counts)
    price = processed(price, scenario.one_off.label_processing)
    each = price.cost(usage, scenario.start).usd / max(usage.requests, 1)
    return each * scenario.one_off.labelled_texts


def retraining_usd(scenario: Scenario, result: Result, price: Price, every: Use) -> Decimal:
    """Labels and training of a month's new students."""
    once = scenario.one_off
    new = Decimal(repr(once.retrainings_per_month))
    each = labelling_usd(scenario, result, price, every) + Decimal(repr(once.training_usd))
    return new * each if new else Decimal(0)


def one_off_usd(result: Result, price: Price) -> tuple[Decimal, Decimal, Decimal]:
    """Labelling, training, other: paid before the first saving."""
    scenario = result.scenario
    once = scenario.one_off
    return (
        labelling_usd(scenario, result, price, every_request(result)),
        Decimal(repr(once.training_usd)),
        Decimal(repr(once.other_usd)),
    )
