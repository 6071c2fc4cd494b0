"""A scenario's teacher on machines of its own: what one carries, and how many the peak needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from costmodel.bill.machines import Fleet, MachineBill, TeacherFleet, rented
from costmodel.bill.usage import mean_output, mean_tokens
from costmodel.inputs.scenario import HostedTeacher, Scenario
from costmodel.inputs.workload import WINDOW_S
from costmodel.money.pricing import HOURS_PER_MONTH, MONTH_S, SECONDS_PER_HOUR, MachinePrice, Price

if TYPE_CHECKING:
    from costmodel.engine.result import Result

MOST_APART = 0.2
"""How far a stated throughput may be from the simulated engine's before it is said."""


def saturated_rate(teacher: HostedTeacher, read: float, written: float) -> float:
    """Requests a second that one replica answers when there is always more to do.

    A request decodes for `written` steps; slots, cache and the prefill budget bound how many begin
    in each step. Times are those of the simulated step.

    Args:
        teacher: the step model.
        read: prompt tokens of the mean request.
        written: output tokens of the mean request.
    """
    steps = max(written, 1.0)
    running = min(float(teacher.max_running), teacher.kv_tokens / max(read + steps, 1.0))
    begin = min(running / steps, teacher.prefill_tokens_per_step / max(read, 1.0))
    running = begin * steps
    step_s = (
        teacher.step_s
        + teacher.step_per_request_s * max(running - begin, 0.0)
        + teacher.step_per_context_token_s * running * (read + steps / 2)
        + teacher.step_per_prefill_token_s * begin * read
    )
    return begin / step_s if step_s > 0 else float(SECONDS_PER_HOUR)


def own_price(scenario: Scenario, price: Price) -> tuple[Price, tuple[str, ...]]:
    """The teacher's price, carrying what its simulated engine carries, and what is odd about it.

    The baseline and the cascade are then paid for one and the same machine.
    """
    teacher = scenario.teacher
    if not isinstance(teacher, HostedTeacher) or not isinstance(price, MachinePrice):
        return price, ()
    rate = saturated_rate(teacher, _read(scenario, mean_tokens(scenario)), mean_output(scenario))
    stated = float(price.requests_per_second)
    words = f"{price.words}; its simulated steps carry {rate:.3g}, which is what is priced"
    warnings: tuple[str, ...] = ()
    if abs(rate / stated - 1) > MOST_APART:
        warnings = (
            f"teacher.price.requests_per_second says {stated:g} requests a second on one replica, "
            f"the step model carries {rate:.3g} ({rate / stated - 1:+.0%}); the latter is priced: "
            "correct the one that is wrong",
        )
    return replace(price, requests_per_second=Decimal(repr(rate)), words=words), warnings


def teacher_fleet(scenario: Scenario, result: Result) -> TeacherFleet:
    """How the machines are sized, to answer everything and to answer what is asked."""
    teacher = scenario.teacher
    sized = teacher.machines
    least = sized.min_machines
    if isinstance(teacher, HostedTeacher):
        least = max(least, teacher.replicas)
    everything, asked = _peaks(scenario, result)
    if sized.peak_to_mean is not None:
        everything = asked = sized.peak_to_mean
    return TeacherFleet(
        Fleet(least, everything, sized.max_utilisation), Fleet(least, asked, sized.max_utilisation)
    )


def everything_bill(result: Result, price: MachinePrice, requests: Decimal) -> MachineBill:
    """The machines that answer every request of a month."""
    return rented("teacher", price, requests, teacher_fleet(result.scenario, result).everything)


def asked_bill(result: Result, price: MachinePrice, month: Decimal) -> MachineBill:
    """The machines that answer escalations and audits; a hosted teacher has those simulated.

    `month` is the month's traffic over the run's.
    """
    work = asked_work(result)
    bill = rented("teacher", price, month * work, teacher_fleet(result.scenario, result).asked)
    teacher = result.scenario.teacher
    if not isinstance(teacher, HostedTeacher):
        return bill
    on = max(result.teacher_paid_s / result.seconds, float(teacher.machines.min_machines))
    machines = math.ceil(on - 1e-9)
    paid = price.usd_per_hour * Decimal(repr(on)) * HOURS_PER_MONTH
    busy = min(result.teacher_busy_s / (on * result.seconds), 1.0)
    return bill.model_copy(
        update={
            "machines": machines,
            "utilisation": busy,
            "marginal_usd": paid * Decimal(repr(busy)),
            "provisioned_usd": paid,
        }
    )


def asked_work(result: Result) -> Decimal:
    """Billed calls of a run, each escalated one counted by its machine time over the mean one's."""
    escalated = Decimal(repr(escalated_work(result)))
    return result.counts["teacher_calls"] * escalated + result.counts["audit_calls"]


def escalated_work(result: Result) -> float:
    """Machine time of an escalated request over that of the mean one."""
    scenario, counts = result.scenario, result.counts
    if not counts["wanted_teacher"]:
        return 1.0
    teacher, written = scenario.teacher, mean_output(scenario)
    read = _read(scenario, _mean(counts, "student_tokens", "requests"))
    longer = _read(scenario, _mean(counts, "wanted_tokens", "wanted_teacher"))
    if isinstance(teacher, HostedTeacher):
        return saturated_rate(teacher, read, written) / saturated_rate(teacher, longer, written)
    return (longer + written) / (read + written)


def _mean(counts: Mapping[str, int], tokens: str, requests: str) -> float:
    return counts[tokens] / max(counts[requests], 1)


def _read(scenario: Scenario, student_tokens: float) -> float:
    """Prompt tokens of a request with so many student tokens."""
    teacher = scenario.teacher
    return teacher.prompt_tokens + teacher.tokens_per_student_token * student_tokens


def _peaks(scenario: Scenario, result: Result) -> tuple[float, float]:
    """Busiest moment over the mean, of all requests and of escalations.

    It follows from what the file says and not from one seed's busiest window; a trace says it by
    itself. Bursts and hard spells are taken not to coincide.
    """
    workload, drift = scenario.workload, scenario.drift
    rates = workload.rates(MONTH_S)
    hard = drift.hardness(np.arange(rates.size, dtype=np.float64) * WINDOW_S)
    mean, mean_asked = rates.mean(), (rates * hard).mean()
    burst = workload.bursts.factor if workload.bursts else 1.0
    spell = drift.spells.factor if drift.spells else 1.0
    if workload.trace is not None:
        seen = [window.counts["requests"] / window.seconds for window in result.timeline]
        burst = max(seen) * result.seconds / max(result.counts["requests"], 1)
    everything = max(float(rates.max() / mean) * burst, 1.0)
    asked = max(float((rates * hard).max() / mean_asked) * max(burst, spell), 1.0)
    return everything, asked
