"""No event before its cause, no capacity beyond what is there, no bill for what was never sent."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.engine.run import simulate
from costmodel.inputs.asking import Asking
from costmodel.inputs.fleet import Autoscaling, Interruptions, Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, Drift, HostedTeacher, Policy, Quality, Scenario
from costmodel.inputs.workload import Bursts, Lengths, Workload
from costmodel.money.pricing import PriceSpec
from costmodel.units import DAY_S

REASONS = (
    "escalation_budget", "teacher_deadline", "teacher_busy", "teacher_throttled",
    "teacher_unavailable", "teacher_timeout", "breaker_open", "retry_budget",
    "teacher_rejected",
)  # fmt: skip
NOT_SENT = ("escalation_budget", "teacher_deadline", "teacher_rejected")
BIN = 1 / 128
"""Relative width of a cell of the latency histogram."""


def seconds(low, high):
    """A time between two powers of ten, evenly on the logarithmic scale."""
    return st.floats(low, high).map(lambda power: round(10**power, 6))


NOISES = st.one_of(
    st.just(Noise()),
    st.just(Noise(kind="exponential")),
    st.builds(Noise, kind=st.just("lognormal"), cv=st.floats(0.1, 3)),
)
LENGTHS = st.builds(Lengths, mean=st.floats(1, 300), cv=st.sampled_from([0.0, 0.8, 3.0]))
BURSTS = st.none() | st.just(Bursts(factor=4, share=0.1, mean_s=20))
INTERRUPTIONS = st.none() | st.just(Interruptions(hours_between=0.01, back_after_s=20))
STUDENTS = st.builds(
    StudentFleet,
    fixed_s=seconds(-4, 0.7),
    per_request_s=st.sampled_from([0.0, 0.001]),
    noise=NOISES,
    replicas=st.integers(1, 4),
    autoscaling=st.none() | st.just(Autoscaling(max_replicas=4, start_delay_s=20, calm_checks=2)),
    max_batch=st.sampled_from([1, 4, 64]),
    queue_limit=st.sampled_from([1, 8, 4096]),
    failure_rate=st.sampled_from([0.0, 0.1]),
    interruptions=INTERRUPTIONS,
)
POLICIES = st.builds(
    Policy,
    escalation_rate=st.sampled_from([0.0, 0.1, 1.0]),
    audit_rate=st.sampled_from([0.0, 0.2]),
    budget_per_s=st.sampled_from([None, 1.0]),
    budget_usd_per_hour=st.sampled_from([None, 0.5]),
    deadline_s=seconds(-1, 2),
    on_failure=st.sampled_from(["student", "error"]),
)
COMMON = {
    "output_tokens": LENGTHS, "timeout_s": seconds(-1, 2), "noise": NOISES,
    "pending_limit": st.sampled_from([1, 50, 65_536]),
    "price": st.just(PriceSpec(usd_per_mtok_input=1, usd_per_mtok_output=2)),
}  # fmt: skip
APIS = st.builds(
    ApiTeacher,
    latency_s=seconds(-2, 1),
    max_concurrency=st.sampled_from([1, 8, 64]),
    max_wait_s=st.sampled_from([None, 0.05]),
    calls_per_minute=st.sampled_from([None, 30.0]),
    failure_rate=st.sampled_from([0.0, 0.5]),
    retry_after_s=st.sampled_from([None, 0.0, 3.0]),
    max_attempts=st.integers(1, 2),
    asking=st.sampled_from([None, Asking(), Asking(hedge=True)]),
    **COMMON,
)
HOSTED = st.builds(
    HostedTeacher,
    replicas=st.integers(1, 3),
    max_running=st.sampled_from([1, 8, 256]),
    kv_tokens=st.sampled_from([3_000.0, 400_000.0]),
    step_s=seconds(-3, 0),
    abort_on_leave=st.booleans(),
    plans_ahead=st.booleans(),
    asking=st.sampled_from([None, Asking(), Asking(hedge=True)]),
    max_concurrency=st.sampled_from([1, 8, 64]),
    interruptions=INTERRUPTIONS,
    autoscaling=st.none() | st.just(Autoscaling(max_replicas=3, check_s=5, start_delay_s=20)),
    **COMMON,
)
SCENARIOS = st.builds(
    Scenario,
    name=st.just("random"),
    workload=st.builds(
        Workload, per_second=seconds(-0.5, 1.5), tokens=LENGTHS, bursts=BURSTS
    ),
    days=st.sampled_from([30 / DAY_S, 150 / DAY_S]),
    warmup_s=st.sampled_from([0.0, 25.0]),
    student=STUDENTS,
    quality=st.just(Quality(length_correlation=0.3)),
    drift=st.builds(Drift, spells=BURSTS),
    policy=POLICIES,
    teacher=APIS | HOSTED,
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenario=SCENARIOS, seed=st.integers(0, 2**20))
def test_any_scenario_obeys_physics(scenario, seed):
    """Nobody is lost, late beyond the deadline, billed unsent, or busier than there is capacity."""
    run = simulate(scenario, seed)
    counts = run.counts
    for busy in (run.student_utilisation, run.teacher_utilisation):
        assert 0 <= busy <= 1 + 1e-9
    units = most_of(scenario.teacher)
    for window in run.timeline:
        assert 0 <= window.student_utilisation <= 1
        assert 0 <= window.teacher_busy_s <= units * window.seconds * (1 + 1e-9)
    paid = sum(window.student_paid_s for window in run.timeline)
    assert paid == pytest.approx(run.student_paid_s)
    if scenario.student.autoscaling is None and scenario.student.interruptions is None:
        assert paid == pytest.approx(scenario.student.replicas * run.seconds)
    for figures in (*run.stages.values(), *run.routes.values()):
        assert 0 <= figures.p50_s <= figures.p90_s <= figures.p99_s <= figures.p999_s
        assert figures.mean_s >= 0
    outcomes = sum(counts[route] for route in ("student", "teacher", "degraded", "refused"))
    assert outcomes == counts["requests"]
    assert counts["wanted_teacher"] == counts["teacher"] + sum(counts[why] for why in REASONS)
    sent = counts["wanted_teacher"] - sum(counts[why] for why in NOT_SENT)
    tries = scenario.teacher.max_attempts
    if scenario.teacher.asking == Asking(hedge=True):
        tries = 2
    assert counts["teacher_calls"] <= tries * sent
    assert counts["audit_calls"] <= tries * counts["audits"]
    lost = counts["calls_failed"] + counts["calls_cancelled"]
    assert lost <= counts["teacher_calls"] + counts["audit_calls"]
    # What bought no answer is a part of what was billed, and no more than what failed or was left.
    assert lost - counts["audit_calls"] <= counts["lost_calls"] <= lost
    assert counts["teacher_calls"] - counts["lost_calls"] == counts["teacher"]
    for part, whole in (("calls", "teacher_calls"), ("input_tokens", "input_tokens"),
                        ("output_tokens", "output_tokens")):  # fmt: skip
        for window in run.timeline:
            assert 0 <= window.counts[f"lost_{part}"] <= window.counts[whole]
    for kind in ("", "audit_"):
        called = counts[f"{kind}calls" if kind else "teacher_calls"]
        assert (counts[f"{kind}input_tokens"] > 0) == (called > 0)
    late = scenario.policy.deadline_s * (1 + BIN)
    assert run.routes["teacher"].p999_s <= late
    stay = run.stages["teacher"].p999_s
    assert stay <= scenario.teacher.timeout_s * (1 + BIN)
    assert max(run.little.student_residual, run.little.teacher_residual) < 1e-6


def most_of(teacher):
    """The slots or replicas that a teacher has at most at any time."""
    if isinstance(teacher, ApiTeacher):
        return teacher.max_concurrency
    return teacher.autoscaling.max_replicas if teacher.autoscaling else teacher.replicas


def short(seconds_, **fields):
    """A scenario of so many seconds, everything escalated."""
    policy = {"escalation_rate": 1, "audit_rate": 0} | fields.pop("policy", {})
    return Scenario(name="t", days=seconds_ / DAY_S, policy=Policy(**policy), **fields)


def test_a_student_that_takes_all_the_time_leaves_none_to_ask():
    """Past its deadline a request is degraded when the student is done: no call, no token."""
    run = simulate(
        short(
            4000,
            workload=Workload(per_second=0.2),
            student=StudentFleet(fixed_s=2, per_token_s=0, max_batch=1, replicas=8),
            policy={"deadline_s": 1},
        )
    )
    assert run.counts["teacher_deadline"] == run.counts["degraded"] == run.counts["requests"] > 500
    assert run.counts["teacher_calls"] == run.counts["input_tokens"] == 0
    assert run.counts["calls_cancelled"] == 0
    assert run.teacher_utilisation == 0
    assert run.routes["degraded"].p50_s == pytest.approx(2, rel=BIN)


@pytest.mark.parametrize("abort", [True, False])
def test_a_late_answer_of_a_hosted_teacher_is_late_at_its_deadline(abort):
    """Whoever waits has its degraded answer after the timeout, whenever the engine is done."""
    run = simulate(overloaded_engine(abort))
    assert run.counts["teacher_timeout"] + run.counts["teacher_busy"] > 0.5 * run.counts["requests"]
    assert run.routes["degraded"].p999_s <= 1 + BIN
    assert run.routes["degraded"].p50_s == pytest.approx(1, rel=BIN)


def test_an_engine_that_stops_for_callers_who_left_goes_on_answering():
    """Computing for nobody turns an overload into a collapse; ending it does not."""
    aborts, goes_on = (simulate(overloaded_engine(abort)) for abort in (True, False))
    assert aborts.counts["teacher"] > 5 * goes_on.counts["teacher"]
    each = aborts.counts["output_tokens"] / aborts.counts["teacher_calls"]
    assert each < 50  # what was not written is not billed
    assert goes_on.counts["output_tokens"] == 50 * goes_on.counts["teacher_calls"]


def overloaded_engine(abort):
    """Twice what an engine of 8 at once can answer within its second."""
    return short(
        300,
        workload=Workload(per_second=20, tokens=Lengths(mean=100)),
        student=StudentFleet(fixed_s=0, per_token_s=0),
        teacher=HostedTeacher(
            max_running=8, step_s=0.014, step_per_request_s=0, output_tokens=Lengths(mean=50),
            timeout_s=1, abort_on_leave=abort, asking=None,
        ),
    )  # fmt: skip


def test_a_slot_is_busy_while_its_call_pauses():
    """Back-offs hold the slot; an overload drained after the horizon is not busy twice."""
    run = simulate(
        short(
            600,
            workload=Workload(per_second=20),
            policy={"deadline_s": 60},
            teacher=ApiTeacher(
                latency_s=0.1, calls_per_minute=240, limit_burst_s=1, retry_after_s=2, timeout_s=60,
                max_concurrency=8, max_wait_s=None, asking=None,
            ),
        )
    )  # fmt: skip
    assert run.stages["teacher_wait"].p50_s > 1
    assert 0.99 < run.teacher_utilisation <= 1
    assert all(w.teacher_busy_s <= 8 * w.seconds * (1 + 1e-9) for w in run.timeline)


def test_a_batch_longer_than_a_row_is_spread_over_the_rows_it_occupies():
    """One replica that computes for minutes is busy in each minute, and in none after the end."""
    run = simulate(
        short(
            1800,
            workload=Workload(per_second=0.005, arrivals="even"),
            student=StudentFleet(fixed_s=150, per_token_s=0, replicas=1, max_batch=1),
            policy={"deadline_s": 1e4},
            teacher=ApiTeacher(timeout_s=1e4),
        )
    )
    assert len(run.timeline) == 30
    assert run.student_busy_s == pytest.approx(8 * 150)
    shares = [window.student_utilisation for window in run.timeline]
    assert max(shares) == 1
    assert math.isclose(sum(shares), 8 * 150 / 60)
