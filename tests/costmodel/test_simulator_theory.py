"""The event loop against exact queueing theory: 12 seeds, inside their own interval."""

import pytest

from costmodel import analytic
from costmodel.analytic import BurkeCascade, MMc
from costmodel.scenario import (
    ApiTeacher,
    HostedTeacher,
    Noise,
    Policy,
    Scenario,
    StudentFleet,
)
from costmodel.simulator import simulate_many
from costmodel.workload import Lengths, Workload

DAY = 86_400.0
EXPONENTIAL = Noise(kind="exponential")
NEVER = Policy(escalation_rate=0, audit_rate=0, deadline_s=1e9)


def queue(arrival, student, n=100_000, **fields):
    """A scenario of about n counted arrivals after a tenth of warm-up."""
    return Scenario(
        name="theory",
        workload=Workload(per_second=arrival, tokens=Lengths(mean=1)),
        days=n / arrival / DAY,
        warmup_s=0.1 * n / arrival,
        student=student,
        **({"policy": NEVER} | fields),
    )


def fleet(fixed_s, replicas=1, max_batch=1, noise=EXPONENTIAL, **fields):
    """Student replicas without a token cost."""
    return StudentFleet(
        fixed_s=fixed_s, per_token_s=0, replicas=replicas, max_batch=max_batch, noise=noise,
        queue_limit=2**16, **fields,
    )  # fmt: skip


def assert_inside(scenario, of, exact, width=0.06):
    """The exact value lies in the 99 % interval of 12 seeds, which is narrow enough to tell."""
    runs = simulate_many(scenario, range(12))
    for run in runs.results:
        assert run.little.student_residual < 1e-9
        assert run.little.teacher_residual < 1e-9
        assert run.counts["requests"] == sum(
            run.counts[route] for route in ("student", "teacher", "degraded", "refused")
        )
    seen = runs.interval(of, 0.99)
    assert seen.low <= exact <= seen.high
    assert (seen.high - seen.low) / 2 <= width * exact


def student_wait(run):
    """Mean seconds in the student's queue."""
    return run.stages["student_wait"].mean_s


def student_stay(run):
    """Mean seconds at the student."""
    return run.stages["student"].mean_s


@pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (4, 3.2), (20, 16), (100, 90)])
def test_student_fleet_is_m_m_c(servers, load):
    """Unbatched exponential replicas wait as Erlang says."""
    exact = MMc(load, 1, servers).wait_s
    assert_inside(queue(load, fleet(1.0, servers)), student_wait, exact, 0.25)


def test_deterministic_student_is_m_d_1():
    """Constant service waits as Pollaczek and Khinchine say."""
    assert_inside(queue(0.8, fleet(1.0, noise=Noise())), student_wait, analytic.md1_wait(0.8, 1))


def test_lognormal_student_is_m_g_1():
    """The variance of service enters as Pollaczek and Khinchine say."""
    noise = Noise(kind="lognormal", cv=0.7)
    exact = analytic.mg1_wait(0.7, 1, 0.49)
    assert_inside(queue(0.7, fleet(1.0, noise=noise)), student_wait, exact)


@pytest.mark.parametrize(("arrival", "most"), [(3, 4), (3.6, 4), (20, 32)])
def test_exponential_batches_are_bulk_service(arrival, most):
    """A server that takes min(queue, b) waits as M/M(1,b)/1."""
    exact = analytic.bulk_wait(arrival, 1, most)
    assert_inside(queue(arrival, fleet(1.0, 1, most)), student_wait, exact, 0.15)


@pytest.mark.parametrize(
    ("arrival", "per_request", "fixed", "most", "exact"),
    [
        (2, 0.1, 0.5, 4096, 0.98976),
        (5, 0.1, 0.5, 4096, 1.66502),
        (8, 0.1, 0.5, 4096, 4.13889),
        (9, 0.02, 0.5, 8, 0.97510),
        (10, 0.02, 0.5, 8, 1.05555),
    ],
)
def test_deterministic_batches_are_the_batch_chain(arrival, per_request, fixed, most, exact):
    """Batches of a + b n seconds stay as the exact chain says, with and without a cap."""
    student = fleet(fixed, 1, most, Noise(), per_request_s=per_request)
    assert_inside(queue(arrival, student), student_stay, exact)


def test_cascade_is_burkes():
    """Unbatched exponential student and teacher: W = W1 + p W2, the escalations being Poisson."""
    exact = BurkeCascade.of(100, (30, 5), 0.1, (1, 14)).sojourn_s
    teacher = ApiTeacher(latency_s=1, noise=EXPONENTIAL, max_concurrency=14, timeout_s=1e9)
    policy = Policy(escalation_rate=0.1, audit_rate=0, deadline_s=1e9)
    scenario = queue(100, fleet(1 / 30, 5), teacher=teacher, policy=policy)
    assert_inside(scenario, lambda run: run.routes["all"].mean_s, exact)


def test_teacher_slots_are_m_m_c_to_the_99th_percentile():
    """The teacher's wait quantile is Erlang's, within the histogram's resolution."""
    teacher = ApiTeacher(latency_s=1, noise=EXPONENTIAL, max_concurrency=4, timeout_s=1e9)
    policy = Policy(escalation_rate=1, audit_rate=0, deadline_s=1e9)
    scenario = queue(3.2, fleet(0.0, 1, 1, Noise()), teacher=teacher, policy=policy)
    exact = MMc(3.2, 1, 4).wait_quantile(0.99)
    assert_inside(scenario, lambda run: run.stages["teacher_wait"].p99_s, exact, 0.15)


def test_hosted_teacher_with_one_running_request_is_m_d_1():
    """One slot, one prefill and one token per request: each takes exactly one step."""
    teacher = HostedTeacher(
        max_running=1, step_s=1.0, step_per_request_s=0, step_per_prefill_token_s=0, timeout_s=1e9
    )
    policy = Policy(escalation_rate=1, audit_rate=0, deadline_s=1e9)
    scenario = queue(0.8, fleet(0.0, 1, 1, Noise()), teacher=teacher, policy=policy)
    exact = analytic.md1_wait(0.8, 1)
    assert_inside(scenario, lambda run: run.stages["teacher_wait"].mean_s, exact)


def test_hosted_teacher_that_admits_all_is_the_batch_chain():
    """Requests of one token prefilled together are a batch of a + b n seconds."""
    teacher = HostedTeacher(
        step_s=0.5, step_per_request_s=0, step_per_prefill_token_s=0.01, prompt_tokens=9,
        max_running=4096, kv_tokens=1e9, prefill_tokens_per_step=1e9, timeout_s=1e9,
    )  # fmt: skip
    policy = Policy(escalation_rate=1, audit_rate=0, deadline_s=1e9)
    scenario = queue(5, fleet(0.0, 1, 1, Noise()), teacher=teacher, policy=policy)
    assert_inside(scenario, lambda run: run.stages["teacher"].mean_s, 1.66502)
