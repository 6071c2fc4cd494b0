"""The simulated router and the real one, through the same arrivals: same reasons, same bill."""

import asyncio
import inspect
import math

import numpy as np
import pytest

from costmodel.engine.run import _plan, log_calls, simulate
from costmodel.fit.fitting import fit
from costmodel.fit.prediction import router_scenario
from costmodel.fit.router_profile import RouterProfile
from costmodel.inputs.asking import Asking
from costmodel.inputs.deployment import Deployment, TeacherTerms
from costmodel.inputs.fleet import Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, Policy, Scenario
from costmodel.inputs.workload import Lengths, Workload
from costmodel.kernel import calls, layout
from costmodel.kernel.teachers.api_teacher import accepts, fails, service_s
from costmodel.money.pricing import TokenUsage
from costmodel.units import DAY_S
from costmodel.web.server import scenario_of
from loadtests.inputs.taskfile import TaskTeacher
from router.teacher import guard as real
from router.teacher import health
from router.teacher.adaptive_limit import AdaptiveLimit
from router.teacher.budget import EscalationBudget
from router.teacher.guard import EscalationGuard
from router.teacher.throttle import AdaptiveThrottle, RetryBudget
from router.testing import SimulatedLoop
from students.errors import TeacherThrottled, TeacherUnavailable
from students.labels import LabelSchema
from students.sections import TeacherSection
from students.testing import ScriptedTeacher
from tests.costmodel.engine.playing import REASONS, Chance, play

READ, WRITTEN = 100, 3
STRESS = {
    "full bulkhead": {"max_concurrency": 8, "latency_s": 0.6},
    "429 storm": {"calls_per_minute": 300.0, "limit_burst_s": 2.0, "retry_after_s": 0.4},
    "429 without a word": {"calls_per_minute": 300.0, "limit_burst_s": 2.0},
    "slow teacher": {"latency_s": 1.6, "timeout_s": 2.0, "max_concurrency": 64},
    "failing teacher": {"failure_rate": 0.3, "latency_s": 0.3},
    "hedging": {"asking": Asking(audits_of=1, hedge=True)},
    "hedging what fails": {
        "asking": Asking(audits_of=1, hedge=True),
        "failure_rate": 0.08,
        "calls_per_minute": 900.0,
        "limit_burst_s": 1.0,
        "timeout_s": 1.5,
    },
}


def scenario(**teacher):
    """Five minutes at 30 requests a second, half of them escalated; the student takes none."""
    noise = Noise(kind="lognormal", cv=0.5)
    fields = {
        "max_concurrency": 32, "latency_s": 0.5, "noise": noise, "asking": Asking(audits_of=1),
    } | teacher  # fmt: skip
    return Scenario(
        name="stress",
        days=300 / DAY_S,
        workload=Workload(per_second=30, tokens=Lengths(mean=READ)),
        student=StudentFleet(fixed_s=0, per_token_s=0, max_batch=1, replicas=1),
        policy=Policy(escalation_rate=0.5, audit_rate=0.2, deadline_s=3.0),
        teacher=ApiTeacher(
            prompt_tokens=0, output_tokens=Lengths(mean=WRITTEN),
            **fields,
        ),
    )  # fmt: skip


class Service:
    """The simulator's service behind the API, as the acts of a scripted teacher."""

    def __init__(self, told, seed, retry_after_s, loop):
        self.p, self.state, self.rng = told.record, np.zeros(1, layout.STATE), layout.streams(seed)
        self.state["tables"], self.state["rng"] = told.tables.ctypes.data, self.rng.ctypes.data
        for bucket in ("calls", "tokens"):
            self.state[f"{bucket}_left"] = self.p[f"{bucket}_burst"]
        self.told, self.loop, self.retry_after_s = told, loop, retry_after_s
        self.outcomes = {}
        self.teacher = ScriptedTeacher(
            LabelSchema.of(["yes", "no"]), self.outcome, faults=self.acts(),
            usage=TokenUsage(READ, WRITTEN),
        )  # fmt: skip

    def outcome(self, text):
        """What comes of the attempt that this task makes."""
        return self.outcomes.pop(asyncio.current_task())

    def acts(self):
        """How long each call takes; what comes of it is told when that is over."""
        p, x = self.p[0], self.state[0]
        while True:
            accepted = accepts(self.loop.time(), READ + WRITTEN, p, x)
            seconds = service_s(accepted, READ, WRITTEN, p, x)
            if not accepted:
                outcome = TeacherThrottled("429", self.retry_after_s)
            elif fails(p, x):
                outcome = TeacherUnavailable("500", usage=TokenUsage(READ, 0))
            else:
                outcome = "yes"
            self.outcomes[asyncio.current_task()] = outcome
            yield seconds


def play_for_real(stress, seed, wanted):
    """Ask the real guard, with the simulated service behind it."""
    loop, teacher = SimulatedLoop(), stress.teacher
    service = Service(_plan(stress, seed, 1)[0].told, seed, teacher.retry_after_s, loop)
    guard = EscalationGuard(
        service.teacher,
        max_concurrency=teacher.max_concurrency,
        timeout_s=teacher.timeout_s,
        usage_of_lost=lambda text: TokenUsage(READ, WRITTEN),
        hedge=teacher.asking.hedge,
        clock=loop.time,
        rng=Chance(service.state),
    )
    return play(guard, loop, stress, wanted)


@pytest.mark.parametrize("name", STRESS)
def test_the_simulated_router_is_the_real_one(name):
    """Request by request: the same reason, attempts, tokens and moment of the end."""
    stress, seed = scenario(**STRESS[name]), 4
    wanted = np.sort(log_calls(stress, seed, 20_000), order="arrived")
    ends = play_for_real(stress, seed, wanted)
    assert len(ends) == len(wanted) > 3_000
    reasons = set()
    for call in wanted:
        reason, attempts, read, written, left = ends[float(call["arrived"]), bool(call["audit"])]
        simulated = (REASONS[int(call["status"])], int(call["tries"]),
                     int(call["read"]), int(call["written"]))  # fmt: skip
        assert simulated == (reason, attempts, read, written), (call, reason)
        assert left == pytest.approx(float(call["left"]), abs=1e-6)
        reasons.add(reason)
    assert len(reasons) >= 2 or name == "hedging"
    assert (max(wanted["tries"]) == 2) == (name not in ("full bulkhead", "slow teacher"))
    counts = simulate(stress, seed).counts
    billed = counts["input_tokens"] + counts["audit_input_tokens"]
    assert billed == sum(end.read for end in ends.values())


def test_the_defaults_are_the_routers():
    """Each number of the rules is the constant or the default of the router's own code."""
    rules = Asking()

    def default(function, name):
        return inspect.signature(function).parameters[name].default

    assert rules.retry_jitter_s == real.RETRY_JITTER_S
    assert rules.slow_share == real.SLOW_SHARE
    assert rules.retry_after_most_s == health.MAX_RETRY_AFTER_S
    assert rules.retry_ratio == default(RetryBudget, "ratio")
    assert rules.retry_reserve == default(RetryBudget, "reserve")
    assert rules.retry_most == default(RetryBudget, "max_balance")
    assert rules.throttle_k == default(AdaptiveThrottle, "k")
    assert rules.throttle_window_s == default(AdaptiveThrottle, "window_s")
    assert rules.throttle_least == default(AdaptiveThrottle, "min_requests")
    assert rules.throttle_most == default(AdaptiveThrottle, "max_refusal")
    assert rules.limit_backoff == default(AdaptiveLimit, "backoff")
    guard = EscalationGuard(
        ScriptedTeacher(LabelSchema.of(["yes", "no"]), "yes"), max_concurrency=80
    )
    for _ in range(200):
        least = guard._limit.record(1.0, 1, congested=True)
    assert least == 80 // rules.least_slots_of
    assert ApiTeacher().timeout_s == default(EscalationGuard, "timeout_s")
    assert ApiTeacher().max_wait_s == default(EscalationGuard, "max_wait_s")
    slots = default(EscalationGuard, "max_concurrency")
    assert slots == TeacherSection.model_fields["max_concurrency"].default
    assert (
        slots
        == ApiTeacher().max_concurrency
        == inspect.signature(fit).parameters["max_concurrency"].default
    )
    assert slots == TeacherTerms.model_fields["max_concurrency"].default
    assert slots == RouterProfile.model_fields["max_concurrency"].default
    assert slots == TaskTeacher().max_concurrency
    assert Policy(threshold=0.5).budget_burst_s == default(EscalationBudget, "burst_s")


def test_hedging_comes_from_the_task():
    """A task that hedges is projected, profiled and predicted as one that hedges."""
    priced = {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1}
    deployment = Deployment(
        name="t", teacher=TeacherTerms(price=priced, hedge=True),
        evaluation={"n": 100, "escalated": 10},
        usage={"input_tokens": 100, "output_tokens": 3},
    )  # fmt: skip
    assert scenario_of(deployment).teacher.asking.hedge
    profile = RouterProfile(
        workers=1, service_s=0.001, service_cv=0.0, overhead_s=(0.0,), escalation_rate=0.1,
        requests=1, hedge=True, fitted_on=(),
    )  # fmt: skip
    assert router_scenario(profile, Workload(per_second=1), 1.0).teacher.asking.hedge


def test_the_budget_spends_on_the_same_requests():
    """Below half of the budget those of most doubt are asked, as the router would choose them."""
    curve = [(0.3, 0.95, 0.1), (0.6, 0.8, 0.05), (0.9, 0.5, 0.01)]
    tight = scenario().model_copy(
        update={
            "quality": scenario().quality.model_copy(update={"risk_coverage": tuple(curve)}),
            "policy": Policy(threshold=0.9, audit_rate=0, budget_per_s=6.0, deadline_s=3.0),
        }
    )
    run = simulate(tight, 4)
    now = [0.0]
    budget = EscalationBudget(per_second=6.0, clock=lambda: now[0])
    wanted = np.sort(log_calls(tight, 4, 20_000), order="arrived")
    refused = 0
    for call in wanted:
        now[0] = float(call["arrived"])
        allowed = budget.allows(float(call["value"]))
        refused += not allowed
        assert allowed == (int(call["status"]) != calls.NO_BUDGET)
    assert refused == run.counts["escalation_budget"] > 500
    assert math.isclose(run.counts["wanted_teacher"], len(wanted))
