"""What a run counts: outcomes, bills, limits, drift; the same seed, the same bytes."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.engine.fields import confidence_curve
from costmodel.engine.replications import interval
from costmodel.engine.result import quantile
from costmodel.engine.run import simulate, simulate_many
from costmodel.errors import BadScenario
from costmodel.inputs.fleet import Autoscaling, Noise, StudentFleet
from costmodel.inputs.scenario import (
    ApiTeacher,
    Drift,
    HostedTeacher,
    Policy,
    Quality,
    Scenario,
    vary,
)
from costmodel.inputs.workload import BUSINESS_DAY, Bursts, Lengths, Workload, arrivals
from costmodel.kernel.layout import BINS
from costmodel.kernel.tally import bin_of

HOUR = 1 / 24


def scenario(**fields):
    """An hour at 20 requests a second with everything at its default but what is named."""
    return Scenario(**({"name": "t", "workload": Workload(per_second=20), "days": HOUR} | fields))


def unanswered(run):
    """Requests for which the teacher was wanted, by what became of them."""
    return {name: n for name, n in run.counts.items() if n and name.startswith("teacher_")}


def test_the_same_seed_gives_the_same_bytes():
    """Two runs of one seed agree in every count, sum and bin; another seed differs."""
    one, two, other = (simulate(scenario(), seed) for seed in (1, 1, 2))
    assert one.counts == two.counts
    assert one.histogram.tobytes() == two.histogram.tobytes()
    assert one.routes == two.routes
    assert one.counts != other.counts


def test_scenarios_share_their_random_numbers():
    """A what-if compares the same requests: only what depends on the change differs."""
    base = scenario()
    less = simulate(vary(base, {"policy.escalation_rate": 0.04}), 1)
    more = simulate(base, 1)
    assert less.counts["requests"] == more.counts["requests"]
    assert less.counts["student_tokens"] == more.counts["student_tokens"]
    assert less.counts["wanted_teacher"] < more.counts["wanted_teacher"]


def test_load_tests_send_what_was_simulated():
    """The iterator of arrivals and the simulation of one seed count the same tokens."""
    sent = list(arrivals(scenario().workload, seed=5, duration_s=3600))
    run = simulate(scenario(), 5)
    assert run.counts["requests"] == len(sent)
    assert run.counts["student_tokens"] == sum(a.tokens for a in sent)


def test_everyone_is_counted_once():
    """Requests are answered by one route or refused, whatever goes wrong on the way."""
    rough = scenario(
        student=StudentFleet(failure_rate=0.1),
        policy=Policy(escalation_rate=0.5, audit_rate=0.2, budget_per_s=8, deadline_s=1.0),
        teacher=ApiTeacher(
            failure_rate=0.3,
            max_concurrency=3,
            calls_per_minute=100,
            limit_burst_s=2,
            latency_s=0.3,
            noise=Noise(kind="exponential"),
        ),
    )
    run = simulate(rough, 1)
    outcomes = ("student", "teacher", "degraded", "refused")
    assert run.counts["requests"] == sum(run.counts[o] for o in outcomes)
    reasons = ("escalation_budget", "teacher_busy", "teacher_throttled", "teacher_unavailable",
               "teacher_timeout", "breaker_open", "retry_budget")  # fmt: skip
    assert all(run.counts[r] > 0 for r in reasons)
    assert run.counts["teacher_deadline"] == 0
    assert run.counts["wanted_teacher"] == run.counts["teacher"] + sum(
        run.counts[r] for r in reasons
    )
    assert run.routes["all"].n == run.counts["requests"] - run.counts["refused"]
    assert run.little.teacher_residual < 1e-9
    rows = [w.counts for w in run.timeline]
    assert {k: sum(row[k] for row in rows) for k in rows[0]} == run.counts


@pytest.mark.parametrize("written", [0, 1, 10])
def test_an_all_teacher_run_bills_the_product(written):
    """One call a request: prompt + text tokens in, the answer's out; a classifier writes none."""
    run = simulate(
        scenario(
            workload=Workload(per_second=20, tokens=Lengths(mean=240)),
            policy=Policy(escalation_rate=1, audit_rate=0),
            teacher=ApiTeacher(
                prompt_tokens=60,
                output_tokens=Lengths(mean=written),
                noise=Noise(),
                max_concurrency=64,
            ),
        ),
        1,
    )
    n = run.counts["requests"]
    assert (run.escalation_rate, run.counts["teacher"]) == (1, n)
    assert run.counts["teacher_calls"] == n
    assert run.counts["input_tokens"] == 300 * n
    assert run.counts["output_tokens"] == written * n


@pytest.mark.parametrize("rate", [0.0, 0.08, 1.0])
def test_the_escalation_rate_is_what_was_asked(rate):
    """Within four standard errors, and exactly at the ends."""
    run = simulate(
        scenario(policy=Policy(escalation_rate=rate), teacher=ApiTeacher(max_concurrency=200)), 1
    )
    error = 4 * (rate * (1 - rate) / run.counts["requests"]) ** 0.5
    assert run.escalation_rate == pytest.approx(rate, abs=error)


CURVE = ((0.5, 0.98, 0.06), (0.8, 0.9, 0.03), (0.95, 0.7, 0.01))


@pytest.mark.parametrize(("threshold", "coverage", "risk"), CURVE)
def test_a_threshold_keeps_what_the_curve_says(threshold, coverage, risk):
    """Coverage and disagreement of the kept are the curve's at each of its points."""
    run = simulate(
        scenario(
            workload=Workload(per_second=200),
            quality=Quality(risk_coverage=CURVE),
            policy=Policy(threshold=threshold, audit_rate=0),
            teacher=ApiTeacher(max_concurrency=2000),
        ),
        1,
    )
    kept = run.counts["student"]
    assert kept / run.counts["requests"] == pytest.approx(coverage, abs=0.003)
    assert run.counts["disagreements"] / kept == pytest.approx(risk, abs=0.002)


def test_the_curve_is_monotone_and_ends_at_its_ends():
    """Confidence never falls with rank; local disagreement is a probability."""
    confidence, wrong = confidence_curve(Quality(risk_coverage=CURVE))
    assert (confidence[0], confidence[-1]) == (0, 1)
    assert (np.diff(confidence) >= 0).all()
    assert ((wrong >= 0) & (wrong <= 1)).all()


def test_length_correlation_raises_the_tokens_of_escalations_only():
    """Rank mixing keeps the rate and the lengths and moves their joint law, as computed by hand."""
    lengths = Lengths(mean=40, cv=1.0)
    table = lengths.table()
    cells = (table[1:] + table[:-1]) / 2
    tail = cells[-len(cells) // 20 :].mean() / cells.mean()
    for rho in (0.0, 0.3):
        run = simulate(
            scenario(
                workload=Workload(per_second=200, tokens=lengths),
                quality=Quality(length_correlation=rho),
                policy=Policy(escalation_rate=0.05, audit_rate=0),
                teacher=ApiTeacher(max_concurrency=1000),
            ),
            1,
        )
        factor = run.token_weighted_escalation / run.escalation_rate
        assert run.escalation_rate == pytest.approx(0.05, abs=0.0012)
        assert factor == pytest.approx(1 - rho + rho * tail, rel=0.03)


def test_drift_and_retraining_are_a_sawtooth():
    """The unsure share grows between retrainings and falls back at each."""
    run = simulate(
        scenario(
            days=28, workload=Workload(per_second=1), drift=Drift(per_month=1.0, retrain_days=14)
        ),
        1,
    )
    rates = [sum(w.counts["wanted_teacher"] for w in run.timeline[k : k + 15])
             / sum(w.counts["requests"] for w in run.timeline[k : k + 15])
             for k in (0, 45, 60, 105)]  # fmt: skip
    assert rates[1] > 1.2 * rates[0]
    assert rates[2] == pytest.approx(rates[0], rel=0.06)
    assert rates[3] == pytest.approx(rates[1], rel=0.06)


def test_hard_spells_keep_the_mean_and_need_more_teacher():
    """The same 5 % in spells waits far longer at the same teacher."""
    policy = Policy(escalation_rate=0.05, audit_rate=0, deadline_s=1e6)
    teacher = ApiTeacher(
        latency_s=1, noise=Noise(kind="exponential"), max_concurrency=12, timeout_s=1e6,
        max_wait_s=None, asking=None,
    )  # fmt: skip
    calm = scenario(days=0.2, workload=Workload(per_second=115.7), policy=policy, teacher=teacher)
    spells = Drift(spells=Bursts(factor=5, share=0.05, mean_s=60))
    hard = calm.model_copy(update={"drift": spells})
    one, two = simulate(calm, 1), simulate(hard, 1)
    assert two.escalation_rate == pytest.approx(one.escalation_rate, rel=0.15)
    assert two.stages["teacher_wait"].p99_s > 10 * max(one.stages["teacher_wait"].p99_s, 0.1)


def test_a_full_queue_refuses_and_the_rest_is_answered():
    """Twice what one replica can do: half is refused as queue_full, utilisation is 1."""
    run = simulate(
        scenario(
            student=StudentFleet(
                fixed_s=0.1, per_token_s=0, replicas=1, max_batch=1, queue_limit=10
            ),
            policy=Policy(escalation_rate=0, audit_rate=0),
        ),
        1,
    )
    assert run.refused_rate == pytest.approx(0.5, abs=0.01)
    assert run.counts["queue_full"] == run.counts["refused"]
    assert run.student_utilisation == pytest.approx(1, abs=0.001)
    assert run.slo(10.0) == pytest.approx(1 - run.refused_rate)


def test_a_request_past_its_deadline_is_not_computed():
    """With a deadline shorter than the queue, the dead are dropped before the student."""
    run = simulate(
        scenario(
            student=StudentFleet(fixed_s=0.1, per_token_s=0, replicas=1, max_batch=1),
            policy=Policy(escalation_rate=0, audit_rate=0, deadline_s=0.5),
        ),
        1,
    )
    assert run.counts["deadline"] == run.counts["refused"] > 0
    assert run.stages["student_wait"].p999_s <= 0.5


def test_a_rate_limit_throttles_and_retries():
    """Calls beyond the limit are 429s that are not billed; retries help some."""
    limited = ApiTeacher(calls_per_minute=60, limit_burst_s=1, noise=Noise())
    run = simulate(scenario(policy=Policy(escalation_rate=0.1, audit_rate=0), teacher=limited), 1)
    assert run.counts["calls_throttled"] > run.counts["teacher_throttled"] > 0
    assert run.counts["teacher_calls"] <= 3600 + 1
    assert run.counts["teacher_calls"] == run.counts["teacher"]


def test_failed_and_cancelled_calls_are_billed():
    """Tokens sent to a call that failed or timed out are on the bill."""
    flaky = ApiTeacher(
        failure_rate=0.5, timeout_s=1.0, noise=Noise(kind="exponential"), asking=None
    )
    run = simulate(scenario(policy=Policy(escalation_rate=0.1, audit_rate=0), teacher=flaky), 1)
    assert run.counts["calls_failed"] > 0
    assert run.counts["calls_cancelled"] > 0
    assert run.counts["teacher_calls"] > run.counts["wanted_teacher"] > run.counts["teacher"]
    assert run.routes["degraded"].p999_s <= 1.02


def test_on_failure_error_refuses_instead_of_degrading():
    """The user's choice when the teacher cannot answer."""
    dead = ApiTeacher(failure_rate=1.0)
    for choice, route in (("student", "degraded"), ("error", "refused")):
        run = simulate(
            scenario(policy=Policy(escalation_rate=0.1, on_failure=choice), teacher=dead), 1
        )
        assert run.counts[route] == run.counts["wanted_teacher"] > 0


def test_a_limit_that_admits_no_call_is_refused():
    """A token limit smaller than one call can never work and says so."""
    teacher = ApiTeacher(tokens_per_minute=60, limit_burst_s=1)
    with pytest.raises(BadScenario, match="never admits the longest call"):
        simulate(scenario(teacher=teacher))


def test_autoscaling_follows_the_day_and_pays_for_idle():
    """Replicas rise and fall with the hours, within their bounds; a fixed fleet costs more."""
    day = Workload(per_day=2e6, hourly=BUSINESS_DAY)
    fleet = StudentFleet(fixed_s=0.04, per_token_s=0, max_batch=1, replicas=2)
    scaled = fleet.model_copy(update={"autoscaling": Autoscaling(min_replicas=2, max_replicas=8)})
    calm = Policy(escalation_rate=0, audit_rate=0)
    run = simulate(scenario(days=1, workload=day, student=scaled, policy=calm), 1)
    on = [w.student_paid_s / w.seconds for w in run.timeline]
    assert min(on) >= 2
    assert max(on) <= 8
    assert max(on) > min(on) + 1
    assert 0.2 < run.student_utilisation < 0.6
    assert run.refused_rate == 0
    peak = fleet.model_copy(update={"replicas": 8})
    assert (
        run.student_paid_s
        < 0.8
        * simulate(scenario(days=1, workload=day, student=peak, policy=calm), 1).student_paid_s
    )


def test_a_slow_start_loses_requests():
    """The longer a replica takes to start, the more of a burst misses its deadline."""
    bursts = Workload(per_second=100, bursts=Bursts(factor=4, share=0.1, mean_s=120))
    lost = []
    for delay in (5.0, 300.0):
        scale = Autoscaling(min_replicas=2, max_replicas=10, start_delay_s=delay)
        fleet = StudentFleet(fixed_s=0.01, per_token_s=0, max_batch=1, autoscaling=scale)
        lost.append(simulate(scenario(days=0.2, workload=bursts, student=fleet), 1).refused_rate)
    assert lost[1] > 2 * lost[0] > 0


def test_hosted_teacher_batches_and_respects_its_cache():
    """With room for one request the engine serves one at a time; with room for all, together."""
    policy = Policy(escalation_rate=1, audit_rate=0, deadline_s=1e6)
    stays = []
    same = Workload(per_second=20, tokens=Lengths(mean=40))
    for tokens in (112.0, 1e6):
        teacher = HostedTeacher(
            kv_tokens=tokens,
            step_s=0.01,
            output_tokens=Lengths(mean=4),
            timeout_s=1e6,
            asking=None,
        )
        run = simulate(scenario(workload=same, policy=policy, teacher=teacher), 1)
        assert run.counts["teacher"] == run.counts["requests"]
        stays.append(run.stages["teacher"].mean_s)
    assert stays[0] > 2 * stays[1]


def test_stretches_in_parallel_count_the_same_month():
    """Cutting the horizon in two changes neither the rates nor the latencies beyond noise."""
    whole, cut = (simulate(scenario(days=0.5), 1, workers=w) for w in (1, 2))
    assert cut.counts["requests"] == pytest.approx(whole.counts["requests"], rel=0.01)
    assert cut.routes["all"].p99_s == pytest.approx(whole.routes["all"].p99_s, rel=0.05)
    assert len(cut.timeline) == len(whole.timeline) == 120


def test_progress_is_told_and_a_stop_is_heard():
    """Progress ends at the number of requests; an exception in it stops the run."""
    seen = []
    run = simulate(scenario(), 1, progress=seen.append)
    assert seen[-1] == run.counts["requests"]

    def stop(n):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        simulate(scenario(days=30, workload=Workload(per_second=100)), 1, progress=stop)
    assert threading.active_count() == before


def test_intervals_hold_their_mean_and_shrink_with_seeds():
    """A Student interval over seeds; one value says nothing about spread."""
    assert interval([1.0]).high == float("inf")
    known = interval([1.0, 2.0, 3.0])
    assert (known.mean, known.low, known.high) == pytest.approx(
        (2, 2 - 2.4841, 2 + 2.4841), abs=1e-3
    )
    runs = simulate_many(scenario(), range(4))
    assert 0.08 in runs.interval(lambda run: run.escalation_rate, 0.999)


def test_quantiles_are_read_within_their_stated_error():
    """Any value comes back within 1/256 of itself."""
    for value in np.geomspace(1e-8, 1e4, 97):
        bins = np.zeros(BINS)
        bins[bin_of(value)] = 1
        assert quantile(bins, 0.5) == pytest.approx(value, rel=1 / 256)


@settings(max_examples=15, deadline=None)
@given(
    low=st.floats(0, 1), high=st.floats(0, 1), per_second=st.floats(1, 200), rho=st.floats(-1, 1)
)
def test_more_threshold_never_escalates_less_and_more_traffic_never_costs_less(
    low, high, per_second, rho
):
    """Monotone where it must be, for the same random numbers."""
    low, high = sorted((low, high))
    base = scenario(
        days=0.01,
        workload=Workload(per_second=per_second),
        quality=Quality(risk_coverage=CURVE, length_correlation=rho),
        policy=Policy(threshold=low),
        teacher=ApiTeacher(max_concurrency=10_000),
    )
    one = simulate(base, 3)
    two = simulate(vary(base, {"policy.threshold": high}), 3)
    more = simulate(vary(base, {"workload.per_second": per_second * 2}), 3)
    assert two.counts["wanted_teacher"] >= one.counts["wanted_teacher"]
    assert more.counts["input_tokens"] >= one.counts["input_tokens"]
    assert more.counts["requests"] >= one.counts["requests"]
    assert all(n >= 0 for n in one.counts.values())


BACKLOG = scenario(
    workload=Workload(per_second=52),
    days=0.25,
    student=StudentFleet(fixed_s=0.02, per_token_s=0, max_batch=1, queue_limit=2**22, replicas=1),
    policy=Policy(escalation_rate=0.01, audit_rate=0, deadline_s=1e6),
)
LIMITED = scenario(
    workload=Workload(per_second=40),
    days=0.25,
    policy=Policy(escalation_rate=0.1, budget_per_s=3.9, budget_burst_s=500),
    teacher=ApiTeacher(max_concurrency=64),
)


@pytest.mark.parametrize("crowded", [BACKLOG, LIMITED])
def test_a_backlog_is_not_lost_between_workers(crowded):
    """A queue or a used-up budget across a cut: the same figures for any number, and said."""
    one, many = simulate(crowded, 3), simulate(crowded, 3, workers=8)
    assert one.stages["student_wait"] == many.stages["student_wait"]
    assert one.counts == many.counts
    assert one.warnings == ()
    assert "in one piece" in many.warnings[0]


def test_a_run_without_backlog_is_cut_and_says_nothing():
    """What a warm-up rebuilds is no reason to play serially."""
    calm = scenario(workload=Workload(per_second=300), days=0.05)
    many = simulate(calm, 3, workers=4)
    assert many.warnings == ()
    assert many.counts["requests"] != simulate(calm, 3).counts["requests"]
