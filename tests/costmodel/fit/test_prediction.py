"""A profile fitted on some rates predicts a rate it has not seen."""

import json

import numpy as np
import pytest

from costmodel.engine.run import simulate
from costmodel.errors import BadProfile
from costmodel.fit.fitting import fit
from costmodel.fit.measured import MeasuredRun, read_samples
from costmodel.fit.prediction import predict
from costmodel.fit.router_profile import load_profile
from costmodel.inputs.fleet import Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, Policy, Scenario
from costmodel.inputs.workload import Workload

USD = {"student": 1e-6, "teacher": 1e-3}


def queue_run(rate, seconds, seed, service=0.0008, escalation=0.1):
    """Measure a router whose law is known: a Lindley queue, overhead, lognormal calls."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(rate * seconds)
    arrived = np.sort(rng.random(n) * seconds)
    work = service * rng.lognormal(-0.125, 0.5, n)
    free, stay = 0.0, np.empty(n)
    for k in range(n):
        free = max(free, arrived[k]) + work[k]
        stay[k] = free - arrived[k]
    stay += 0.001 + 0.0005 * rng.exponential(size=n)
    escalated = rng.random(n) < escalation
    calls = stay[escalated] + 0.2 * rng.lognormal(0, 0.4, escalated.sum())
    latency = {"student": np.sort(stay[~escalated]), "teacher": np.sort(calls)}
    return MeasuredRun(rate, seconds, {k: v for k, v in latency.items() if len(v)}, USD)


@pytest.fixture(scope="module")
def profile():
    """Fitted at 4 %, 40 % and 72 % of capacity."""
    runs = [queue_run(rate, 15, seed) for seed, rate in enumerate((50, 500, 900))]
    return fit(runs, max_concurrency=1000)  # as many slots as anybody wants


def test_the_service_time_is_found(profile):
    """From how latency grows with rate, within a tenth; in-sample errors are small."""
    assert profile.service_s == pytest.approx(0.0008, rel=0.1)
    for run in profile.fitted_on:
        assert run.fitted_ms == pytest.approx(run.student_ms, rel=0.12)


@pytest.mark.parametrize("rate", [250, 750])
def test_held_out_rates_are_predicted(profile, rate):
    """p50, p99, throughput, escalation and cost within 10 % at rates it was not fitted on."""
    truth = queue_run(rate, 60, 9)
    seen = predict(profile, Workload(per_second=rate), 60)
    assert seen.p50_s.mean == pytest.approx(np.median(truth.all_s), rel=0.1)
    assert seen.p99_s.mean == pytest.approx(np.quantile(truth.all_s, 0.99), rel=0.1)
    assert seen.student_p99_s.mean == pytest.approx(
        np.quantile(truth.latency_s["student"], 0.99), rel=0.15
    )
    assert seen.answered_per_s.mean == pytest.approx(rate, rel=0.02)
    assert seen.escalation_rate.mean == pytest.approx(0.1, abs=0.01)
    assert seen.usd_per_1k.mean == pytest.approx(0.9 * 1e-3 + 0.1, rel=0.08)


def clump_run(rate, gap_cv, seconds, seed, service=0.0003):
    """A router that answers all that wait as one batch, on a processor that idles asleep."""
    rng = np.random.default_rng(seed)
    shape = 1 / gap_cv**2
    arrived = np.cumsum(rng.gamma(shape, 1 / (shape * rate), int(rate * seconds)))
    free, k, stay = 0.0, 0, np.empty(arrived.size)
    while k < arrived.size:
        begin = max(free, arrived[k])
        end = int(np.searchsorted(arrived, begin, side="right"))
        free = begin + service * (end - k)
        stay[k:end] = free - arrived[k:end]
        k = end
    waking = 0.0007 * np.exp(-rate / 300) * (0.7 + 0.6 * rng.random(stay.size))
    stay += 0.00025 + 0.00005 * rng.exponential(size=stay.size) + waking
    return MeasuredRun(rate, seconds, {"student": np.sort(stay)}, USD, gap_cv=gap_cv)


def test_a_burst_is_predicted_from_a_run_that_came_in_clumps():
    """Its p50 was 65 % too low: at even rates what a clump waits hides behind faster waking."""
    steady = [clump_run(rate, 1.0, 20, seed) for seed, rate in enumerate((50, 150, 500, 1000))]
    burst = Workload(per_second=1160, arrivals="gamma", cv=2.0)
    truth = np.median(clump_run(1160, 2.0, 40, 9).all_s)
    assert predict(fit(steady), burst, 20).p50_s.mean < 0.7 * truth
    told = fit([*steady, clump_run(500, 2.0, 20, 7)])
    assert told.together
    assert told.service_s == pytest.approx(0.0003, rel=0.15)
    assert predict(told, burst, 20).p50_s.mean == pytest.approx(truth, rel=0.1)
    peak = np.median(clump_run(460, 1.0, 40, 8).all_s)
    seen = predict(told, Workload(per_second=460), 20).p50_s.mean
    assert seen == pytest.approx(peak, rel=0.1)


def drowsy_run(rate, seed):
    """A router whose processor sleeps when it has nothing to do: it wakes in up to 1.5 ms."""
    run = queue_run(rate, 20, seed, service=0.0002)
    rng = np.random.default_rng(seed)
    waking = {
        route: np.sort(s + 0.0015 * np.exp(-rate / 200) * rng.random(len(s)))
        for route, s in run.latency_s.items()
    }
    return MeasuredRun(rate, 20, waking, USD)


@pytest.fixture(scope="module")
def drowsy():
    """A profile of such a router."""
    return fit([drowsy_run(r, seed) for seed, r in enumerate((50, 150, 700))])


@pytest.mark.parametrize("rate", [100, 460])
def test_overhead_that_shrinks_with_load_is_predicted(rate, drowsy):
    """An idle machine answers later than a busy one; between fitted rates p50 is within 10 %."""
    profile = drowsy
    assert profile.overhead_at(10) == profile.overhead_at(50)
    assert np.median(profile.overhead_at(700)) < np.median(profile.overhead_at(50)) - 0.0003
    seen = predict(profile, Workload(per_second=rate), 20)
    assert seen.p50_s.mean == pytest.approx(np.median(drowsy_run(rate, 9).all_s), rel=0.1)


def test_a_burst_has_the_overheads_of_its_own_rates(drowsy):
    """One rate for all gave the requests before a burst what those in it have: p50 13 % too low."""
    rates = np.array([60.0] * 20 + [700.0])
    truth = np.concatenate(
        [
            np.quantile(drowsy_run(rate, 9).latency_s["student"], np.linspace(0, 1, n))
            for rate, n in ((60, 60 * 20), (700, 700))
        ]
    )
    shares = [0.25, 0.5, 0.75]
    seen = np.quantile(drowsy.overhead_over(rates), shares) + drowsy.service_s
    assert seen == pytest.approx(np.quantile(truth, shares), rel=0.07)
    one = drowsy.overhead_at(float((rates**2).sum() / rates.sum()))
    assert np.quantile(one, 0.75) + drowsy.service_s < 0.9 * np.quantile(truth, 0.75)


def test_even_traffic_has_the_overhead_of_its_rate(drowsy):
    """A mixture of one part is that part; without traffic it is that of the lowest rate."""
    mixed = drowsy.overhead_over(np.full(30, 150.0))
    assert np.array(mixed) == pytest.approx(np.array(drowsy.overhead_at(150)), abs=2e-5)
    assert drowsy.overhead_over(np.zeros(3)) == drowsy.overhead_s


def test_a_load_beyond_the_measured_is_marked(profile):
    """At the highest measured rate it is not yet an extrapolation, above it is."""
    marks = [predict(profile, Workload(per_second=r), 5, range(2)).extrapolated for r in (900, 901)]
    assert marks == [False, True]


def test_one_rate_is_not_enough():
    """How latency grows cannot be seen at one rate."""
    with pytest.raises(BadProfile, match="two rates or more"):
        fit([queue_run(50, 10, 0)])


def test_an_unpriced_route_leaves_the_cost_open(profile):
    """Never 0: no price, no cost."""
    unpriced = profile.model_copy(update={"usd": {"student": 1e-6}})
    assert predict(unpriced, Workload(per_second=100), 10, range(2)).usd_per_1k is None


def sample(**fields):
    """One line of a samples file."""
    return json.dumps(
        {"route": "student", "latency_ms": 2.0, "cost_usd": "0.000001", "failure": None} | fields
    )


def test_samples_are_read_by_route(tmp_path):
    """Latencies, costs and failures of a samples file."""
    path = tmp_path / "s.jsonl"
    lines = [sample()] * 400 + [sample(route="teacher", latency_ms=300.0, cost_usd=None)] * 30
    path.write_text("\n".join([*lines, sample(failure="timeout", route=None)]))
    run = read_samples(path, 10, 43)
    assert (run.answered, run.failed) == (430, 1)
    assert run.latency_s["teacher"][0] == 0.3
    assert run.usd == {"student": pytest.approx(1e-6)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (sample(), "1 requests were answered, 1 by the student; at least 300"),
        ("{}", "line 1 is not a load-test sample"),
        ("\n".join([sample(route="teacher")] * 500), "0 by the student"),
    ],
)
def test_bad_samples_are_one_sentence(tmp_path, text, words):
    """Too few, not JSON, or nothing of the student's."""
    path = tmp_path / "s.jsonl"
    path.write_text(text)
    with pytest.raises(BadProfile, match=words):
        read_samples(path, 10, 10)


def test_a_profile_survives_its_file(profile, tmp_path):
    """Written and read, it is the same; a broken one is one sentence."""
    path = tmp_path / "p.json"
    path.write_text(profile.model_dump_json())
    assert load_profile(path) == profile
    path.write_text("{}")
    with pytest.raises(BadProfile, match="workers"):
        load_profile(path)
    with pytest.raises(BadProfile, match="cannot be read"):
        load_profile(tmp_path / "none.json")


def test_the_simulator_can_profile_itself():
    """Latencies drawn by the simulator give back the simulator's parameters."""
    truth = Scenario(
        name="t", workload=Workload(per_second=900), days=60 / 86_400,
        student=StudentFleet(fixed_s=0.0008, per_token_s=0, replicas=1, max_batch=1),
        policy=Policy(escalation_rate=0.0, audit_rate=0), teacher=ApiTeacher(noise=Noise()),
    )  # fmt: skip
    seen = predict(
        fit([queue_run(r, 15, s, escalation=0.0) for s, r in enumerate((50, 900))]),
        Workload(per_second=900), 60,
    )  # fmt: skip
    assert seen.utilisation.mean == pytest.approx(simulate(truth, 1).student_utilisation, rel=0.12)
