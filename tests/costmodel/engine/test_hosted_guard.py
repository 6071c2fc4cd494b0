"""The router's guard before engines: the real one and the simulated one, call by call; machines."""

import asyncio
from collections import deque

import numpy as np
import pytest

from costmodel.engine.run import log_calls, simulate
from costmodel.inputs.asking import Asking
from costmodel.inputs.fleet import Autoscaling, Interruptions, Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, HostedTeacher, Policy, Scenario, vary
from costmodel.inputs.workload import Lengths, Workload
from costmodel.kernel import calls, layout
from costmodel.money.pricing import TokenUsage
from costmodel.units import DAY_S
from router.teacher.budget import EscalationBudget
from router.teacher.guard import EscalationGuard
from router.teacher.token_bucket import TokenBucket
from router.testing import SimulatedLoop
from students.labels import LabelSchema
from students.testing import ScriptedTeacher
from tests.costmodel.engine.playing import REASONS, Chance, play

READ, WRITTEN = 100, 20
STRESS = {
    "few slots": {"max_concurrency": 4},
    "slow engines": {"step_s": 0.12, "timeout_s": 2.0, "max_concurrency": 32, "max_running": 4},
    "an engine too small": {"step_s": 0.1, "timeout_s": 1.5, "max_running": 2, "replicas": 1,
                            "max_concurrency": 16},
    "hedging": {"asking": Asking(audits_of=1, hedge=True), "replicas": 3, "max_running": 4},
}  # fmt: skip


def scenario(**teacher):
    """Five minutes at 30 requests a second, half of them escalated to engines of one's own."""
    fields = {
        "replicas": 2, "max_concurrency": 16, "step_s": 0.02, "step_per_request_s": 0.001,
        "step_per_prefill_token_s": 1e-4, "asking": Asking(audits_of=1), "timeout_s": 2.0,
    } | teacher  # fmt: skip
    return Scenario(
        name="engines",
        days=300 / DAY_S,
        workload=Workload(per_second=30, tokens=Lengths(mean=READ)),
        student=StudentFleet(fixed_s=0, per_token_s=0, max_batch=1, replicas=1),
        policy=Policy(escalation_rate=0.5, audit_rate=0.1, deadline_s=3.0),
        teacher=HostedTeacher(
            prompt_tokens=0, output_tokens=Lengths(mean=WRITTEN), prefix_cache=False, **fields
        ),
    )


class Engine:
    """One engine on a loop's clock: prompts in one chunk, one token a step, no end of cache."""

    def __init__(self, told, loop):
        self.told, self.loop = told, loop
        self.waiting, self.running, self.stepping = deque(), [], False

    @property
    def load(self):
        """Calls that somebody waits for."""
        return sum(not call["left"] for call in [*self.waiting, *self.running])

    def take(self, call):
        """Queue a call; begin a step where none runs."""
        self.waiting.append(call)
        if not self.stepping:
            self.step()

    def step(self):
        """Throw out who left, admit who waits, and compute one token for each."""
        self.running = [call for call in self.running if not call["left"]]
        decoding, prompts = len(self.running), 0
        while self.waiting and len(self.running) < self.told.max_running:
            call = self.waiting.popleft()
            if not call["left"]:
                self.running.append(call)
                prompts += READ
        self.stepping = bool(self.running)
        if self.stepping:
            seconds = (
                self.told.step_s
                + self.told.step_per_request_s * decoding
                + self.told.step_per_prefill_token_s * prompts
            )
            self.loop.call_at(self.loop.time() + seconds, self.end)

    def end(self):
        """A token more for each; the next step begins before those that are done are told."""
        done = []
        for call in self.running:
            call["tokens"] += 1
            if call["tokens"] == WRITTEN:
                done.append(call)
        self.running = [call for call in self.running if call not in done]
        self.step()
        for call in done:
            if not call["answer"].done():
                call["answer"].set_result(None)


class OwnEngines(ScriptedTeacher):
    """Engines behind a least-loaded balancer, as the router's teacher."""

    def __init__(self, told, loop):
        super().__init__(LabelSchema.of(["yes", "no"]), "yes", usage=TokenUsage(READ, WRITTEN))
        self.engines = [Engine(told, loop) for _ in range(told.replicas)]

    async def label(self, texts, *, timeout_s=None):
        """Wait for an engine; whoever leaves is computed no longer."""
        answer = asyncio.get_running_loop().create_future()
        call = {"tokens": 0, "left": False, "answer": answer}
        min(self.engines, key=lambda one: one.load).take(call)
        try:
            await answer
        finally:
            call["left"] = True
        return [self._reply(text) for text in texts]


def play_for_real(stress, seed, wanted):
    """Ask the real guard, with engines behind it."""
    loop, teacher = SimulatedLoop(), stress.teacher
    rng, state = layout.streams(seed), np.zeros(1, layout.STATE)
    state["rng"] = rng.ctypes.data
    guard = EscalationGuard(
        OwnEngines(teacher, loop), max_concurrency=teacher.max_concurrency,
        timeout_s=teacher.timeout_s, hedge=teacher.asking.hedge, clock=loop.time,
        rng=Chance(state),
    )  # fmt: skip
    return play(guard, loop, stress, wanted)


@pytest.mark.parametrize("name", STRESS)
def test_the_guard_before_engines_is_the_real_one(name):
    """Request by request: the same reason, attempts and moment of the end."""
    stress, seed = scenario(**STRESS[name]), 4
    wanted = np.sort(log_calls(stress, seed, 20_000), order="arrived")
    ends = play_for_real(stress, seed, wanted)
    assert len(ends) == len(wanted) > 3_000
    for call in wanted:
        end = ends[float(call["arrived"]), bool(call["audit"])]
        simulated = REASONS[int(call["status"])], int(call["tries"])
        assert simulated == (end.reason, end.attempts), call
        assert end.moment == pytest.approx(float(call["left"]), abs=1e-6)
    reasons = {REASONS[int(call["status"])] for call in wanted}
    assert len(reasons) >= 2 or name == "hedging"
    assert (max(wanted["tries"]) == 2) == (name == "hedging")


# --- dollars ---------------------------------------------------------------------------------


def test_dollars_an_hour_are_spent_on_the_same_requests():
    """Below half of the budget those of most doubt are asked, as the router would choose them."""
    each = 1e-6 * READ + 2e-6 * WRITTEN
    usd_per_hour = 6 * 3600 * each
    tight = scenario().model_copy(
        update={
            "quality": scenario().quality.model_copy(
                update={"risk_coverage": ((0.3, 0.95, 0.1), (0.6, 0.8, 0.05), (0.9, 0.5, 0.01))}
            ),
            "policy": Policy(threshold=0.9, audit_rate=0, budget_usd_per_hour=usd_per_hour,
                             deadline_s=3.0),
            "teacher": ApiTeacher(
                latency_s=0.2, noise=Noise(kind="lognormal", cv=0.5), max_concurrency=64,
                prompt_tokens=0, output_tokens=Lengths(mean=WRITTEN),
                price={"usd_per_mtok_input": 1, "usd_per_mtok_output": 2},
            ),
        }
    )  # fmt: skip
    run = simulate(tight, 4)
    now = [0.0]
    bucket = TokenBucket(usd_per_hour / 3600, 60.0, 0.0)
    budget = EscalationBudget(usd=bucket, clock=lambda: now[0])
    wanted = np.sort(log_calls(tight, 4, 20_000), order="arrived")
    booked = deque(
        sorted((float(c["left"]), int(c["read"]), int(c["written"])) for c in wanted if c["tries"])
    )
    refused = 0
    for call in wanted:
        now[0] = float(call["arrived"])
        while booked and booked[0][0] <= now[0]:
            _, read, written = booked.popleft()
            budget.spend(read * 1e-6 + written * 2e-6)
        allowed = budget.allows(float(call["value"]))
        refused += not allowed
        assert allowed == (int(call["status"]) != calls.NO_BUDGET)
    assert refused == run.counts["escalation_budget"] > 500
    paid = (run.counts["input_tokens"] + 2 * run.counts["output_tokens"]) * 1e-6
    assert paid <= usd_per_hour * (300 + 60) / 3600 * 1.02


def test_audits_have_a_tenth_of_the_dollars():
    """Nobody waits for an audit: where money is short it is lost first."""
    priced = {"usd_per_mtok_input": 1, "usd_per_mtok_output": 2}
    usd = {"teacher.price": priced, "policy.escalation_rate": 0.0, "policy.audit_rate": 1.0}
    free = simulate(vary(scenario(timeout_s=30, max_concurrency=512, max_running=512), usd), 1)
    held = simulate(vary(free.scenario, {"policy.budget_usd_per_hour": 0.36}), 1)
    assert free.counts["audits_lost"] == 0
    each, allowed = 1.4e-4, 0.036 / 3600 * 360
    paid = held.counts["audit_calls"] * each
    assert allowed < paid < allowed + 30 * each  # overdrawn by what was in flight
    assert held.counts["audits_lost"] > 0.9 * held.counts["audits"]


# --- machines that come and go ---------------------------------------------------------------


def test_replicas_are_there_as_often_as_a_binomial_law_says():
    """Share of the time that a lost machine is away, and of requests lost with one."""
    often = Interruptions(hours_between=0.05, back_after_s=60)
    run = simulate(
        Scenario(
            name="spot",
            days=2.0,
            workload=Workload(per_second=20, tokens=Lengths(mean=1)),
            student=StudentFleet(
                fixed_s=0.05, per_token_s=0, max_batch=1, replicas=8, interruptions=often
            ),
            policy=Policy(escalation_rate=0, audit_rate=0),
        ),
        1,
    )
    assert often.available == pytest.approx(0.75)
    assert run.student_paid_s / (8 * run.seconds) == pytest.approx(0.75, abs=0.02)
    assert run.counts["taken_away"] == pytest.approx(8 * 172_800 / 240, rel=0.1)
    busy = run.student_busy_s / run.seconds  # machines busy at a random moment
    expected = busy / 6.0 * run.counts["taken_away"]
    assert run.counts["lost_with_machine"] == pytest.approx(expected, rel=0.15)
    assert run.counts["refused"] >= run.counts["lost_with_machine"]
    assert run.little.student_residual < 1e-6


def test_the_calls_of_an_engine_that_is_taken_away_are_asked_again():
    """They fail, and the one retry finds another engine; with one engine there is nobody to ask."""
    often = Interruptions(hours_between=0.02, back_after_s=30)
    many, one = (
        simulate(scenario(replicas=n, interruptions=often, timeout_s=2.5), 3) for n in (4, 1)
    )
    assert many.counts["taken_away"] > 5
    assert many.counts["lost_with_machine"] > 20
    assert many.counts["calls_failed"] == many.counts["lost_with_machine"]
    assert (
        many.counts["teacher_unavailable"] + many.counts["retry_budget"]
        < 0.1 * (many.counts["wanted_teacher"])
    )
    assert one.counts["teacher"] < 0.8 * one.counts["wanted_teacher"]
    assert many.little.teacher_residual < 1e-6
    share = many.teacher_paid_s / (4 * many.seconds)
    assert 0.5 < share < 1


def test_the_backlog_of_a_cold_start_is_that_of_a_fluid():
    """Load that no engine carries waits for the next ones: (arrivals - capacity) x delay."""
    delay, per_second = 60.0, 40.0
    engines = HostedTeacher(
        replicas=1, max_running=1, step_s=0.05, step_per_request_s=0, step_per_prefill_token_s=0,
        prompt_tokens=0, output_tokens=Lengths(mean=1), timeout_s=1e5, asking=None,
        autoscaling=Autoscaling(
            min_replicas=1, max_replicas=8, target_utilisation=1.0, check_s=1.0,
            start_delay_s=delay, calm_checks=10_000,
        ),
    )  # fmt: skip
    run = simulate(
        Scenario(
            name="cold",
            days=240 / DAY_S,
            workload=Workload(per_second=per_second, tokens=Lengths(mean=1), arrivals="even"),
            student=StudentFleet(fixed_s=0, per_token_s=0, max_batch=1, replicas=1),
            policy=Policy(escalation_rate=1, audit_rate=0, deadline_s=1e5),
            teacher=engines,
        ),
        1,
    )
    # One engine carries 20 a second: after the delay 20 a second have waited for it in vain.
    backlog = (per_second - 20) * delay
    longest = run.stages["teacher"].p999_s
    assert longest == pytest.approx(backlog / 20 + delay - backlog / 20, rel=0.1)
    assert run.teacher_paid_s < 8 * run.seconds
