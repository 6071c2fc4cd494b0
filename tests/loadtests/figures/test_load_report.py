"""A run's figures and whether it counts."""

import io
import json
from decimal import Decimal

import pytest
from rich.console import Console

from loadtests.figures.load_report import LoadReport, report_of
from loadtests.generator.histogram import Histogram
from loadtests.generator.tallies import RequestOutcome, Tally, interval_s
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.report.terminal import show

SPEC = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=100, duration_s=20)


def outcome(i, **changes):
    """The i-th of 2,000 answers: 3 ms, on time, by the student."""
    base = {
        "offset_s": i / 100,
        "row_index": i,
        "lag_s": 0.0005,
        "latency_s": 0.003,
        "status": 200,
        "failure": None,
        "route": "student",
        "reason": "confident",
        "label": "urgent",
        "confidence": 0.9,
        "usd": Decimal("0.001"),
    }
    return RequestOutcome(**{**base, **changes})


def tally_of(outcomes, scheduled=2000, dropped=0):
    """Count outcomes as a worker does, and pass them through JSON as it does."""
    tally = Tally(interval_s(SPEC))
    for i in range(scheduled):
        tally.arrive(i / 100)
    for i in range(dropped):
        tally.drop(i / 100)
    for each in outcomes:
        tally.record(each, SPEC)
    tally.cpu = {0: 0.2, 1: 0.4}
    return Tally.load(json.loads(json.dumps(tally.dump())))


def test_figures_of_a_clean_run():
    """Counts, rates, cost to the last digit, latency and escalation are those of the outcomes."""
    outcomes = [outcome(i) for i in range(1800)]
    outcomes += [
        outcome(i, route="teacher", reason="low_confidence", latency_s=0.2, usd=Decimal("0.0123"))
        for i in range(1800, 2000)
    ]
    report = report_of(SPEC, tally_of(outcomes))
    assert report.valid
    assert report.passed
    assert (report.scheduled, report.sent, report.succeeded, report.failed) == (2000,) * 3 + (0,)
    assert report.offered_rps == 100.0
    assert report.achieved_rps == pytest.approx(99.0, abs=0.1)  # the last 0.2 s end outside
    assert report.routes == {"student": 1800, "teacher": 200}
    assert report.reasons == {"student confident": 1800, "teacher low_confidence": 200}
    assert report.escalation_rate == pytest.approx(0.1)
    assert report.cost_usd == Decimal("0.001") * 1800 + Decimal("0.0123") * 200
    assert report.latency_ms["student"].p99 == pytest.approx(3.0, rel=0.01)
    assert report.latency_ms["all"].p99 == pytest.approx(200.0, rel=0.01)
    assert report.generator_cpu == pytest.approx(0.3)
    assert LoadReport.model_validate_json(report.model_dump_json()) == report


def test_warmup_is_in_no_figure_but_its_cost_is_kept():
    """Warm-up requests are outside counts, rates and cost, and reported beside them."""
    outcomes = [outcome(i) for i in range(2000)] + [outcome(-5, latency_s=9.0)]
    report = report_of(SPEC, tally_of(outcomes))
    assert report.sent == 2000
    assert report.latency_ms["all"].max == pytest.approx(3.0)
    assert report.unmeasured_sent == 1
    assert report.unmeasured_cost_usd == Decimal("0.001")


def test_failures_count_as_later_than_any_answer():
    """With 2 % failed there is no p99 over all; the answers' own p99 is unmoved."""
    outcomes = [outcome(i) for i in range(1960)]
    outcomes += [outcome(i, failure="timeout", status=0, usd=None) for i in range(1960, 2000)]
    report = report_of(SPEC, tally_of(outcomes))
    assert report.failures == {"timeout": 40}
    assert report.latency_ms["all"].p99 is None
    assert report.latency_ms["all"].p90 == pytest.approx(3.0, rel=0.01)
    assert report.latency_ms["student"].p99 == pytest.approx(3.0, rel=0.01)
    assert report.valid
    assert not report.passed


def test_unpriced_answers_are_counted_not_free():
    """An answer without a price is in no sum and is counted."""
    report = report_of(SPEC, tally_of([outcome(i, usd=None if i < 3 else 1) for i in range(2000)]))
    assert report.unpriced == 3
    assert report.cost_usd == 1997


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"dropped": 1, "sent": 1999}, "1 arrivals were dropped"),
        ({"sent": 1979}, "1979 of 2000 arrivals were sent"),
        ({"lag_s": 0.0052}, "left 5.2 ms or more after their instant"),
        ({"cpu": 0.71}, "used 71% of a core"),
        ({"sent": 0}, "no request was sent"),
    ],
)
def test_broken_rule_voids_the_run(broken, words):
    """Drops, send lag, missing arrivals or a busy generator void the run, with the reason."""
    lag = broken.get("lag_s", 0.0005)
    outcomes = [outcome(i, lag_s=lag) for i in range(broken.get("sent", 2000))]
    tally = tally_of(outcomes, dropped=broken.get("dropped", 0))
    tally.cpu = {0: broken.get("cpu", 0.2)}
    report = report_of(SPEC, tally)
    assert not report.valid
    assert not report.passed
    assert words in report.invalid_reasons[0]


@pytest.mark.parametrize(("sent", "lag_s", "cpu"), [(1980, 0.0048, 0.7)])
def test_run_at_the_edge_of_the_rules_counts(sent, lag_s, cpu):
    """99 % sent, 4.8 ms of lag and 70 % of a core are still allowed."""
    tally = tally_of([outcome(i, lag_s=lag_s) for i in range(sent)])
    tally.cpu = {0: cpu}
    assert report_of(SPEC, tally).valid


def test_slo_limits_are_judged_one_by_one():
    """Each limit is a check with what was found; one failed check fails the run."""
    slo = Slo(latency_ms={"all": {"p50": 3.1}, "student": {"p99": 2.9}})
    report = report_of(SPEC, tally_of([outcome(i) for i in range(2000)]), slo)
    assert [(c.name, c.passed) for c in report.checks] == [
        ("failure rate", True),
        ("all p50", True),
        ("student p99", False),
    ]
    assert report.valid
    assert not report.passed


@pytest.mark.parametrize(("n", "passed"), [(999, False), (1000, True)])
def test_too_few_samples_are_no_pass(n, passed):
    """A p99 needs a thousand answers: 999 fail the check and say so."""
    slo = Slo(max_failure_rate=1, latency_ms={"student": {"p99": 100}})
    check = report_of(SPEC, tally_of([outcome(i) for i in range(n)]), slo).checks[1]
    assert check.passed is passed
    assert ("too few" in check.words) is not passed


def test_missing_route_fails_its_check():
    """A limit on a route that never answered cannot pass."""
    slo = Slo(latency_ms={"teacher": {"p50": 100}})
    check = report_of(SPEC, tally_of([outcome(i) for i in range(2000)]), slo).checks[1]
    assert not check.passed
    assert "0 answers on route teacher" in check.words


def test_workers_tallies_add_up():
    """Two workers' halves give the report of one that did it all, CPU being the busier one's."""
    outcomes = [outcome(i, route="teacher" if i % 7 == 0 else "student") for i in range(2000)]
    whole = tally_of(outcomes)
    halves = [tally_of(outcomes[k::2], scheduled=0) for k in (0, 1)]
    halves[0].cpu = {0: 0.1, 1: 0.5}
    total = Tally(interval_s(SPEC))
    for half in halves:
        total.add(half)
    total.scheduled = whole.scheduled
    assert total.cpu == {0: 0.2, 1: 0.5}
    total.cpu = whole.cpu
    assert report_of(SPEC, total) == report_of(SPEC, whole)


def test_ten_bad_seconds_are_not_hidden_by_a_mean():
    """A generator at 100 % of a core for 10 of 45 s has a mean of 30 % and voids the run."""
    spec = SPEC.model_copy(update={"duration_s": 45})
    tally = Tally(1.0)
    for i in range(4500):
        tally.arrive(i / 100)
        tally.record(outcome(i), spec)
    tally.cpu = {k: 1.0 if 20 <= k < 30 else 0.1 for k in range(45)}
    report = report_of(spec, tally)
    assert report.generator_cpu == pytest.approx(0.3)
    assert not report.valid
    assert "used 100% of a core in seconds 20 to 21" in report.invalid_reasons[0]
    assert "10 of 45 intervals" in report.invalid_reasons[0]


def test_a_late_second_of_a_burst_is_seen():
    """One second of 200 leaves 40 ms late: 0.5 % of the run, and all of that second."""
    spec = SPEC.model_copy(update={"rate": 1000, "duration_s": 200})
    tally = Tally(1.0, cpu={0: 0.1})
    lags = {True: Histogram(), False: Histogram()}
    for late, histogram in lags.items():
        for _ in range(1000):
            histogram.record(0.04 if late else 0.0002)
    for k in range(200):
        tally.scheduled[k] = tally.sent[k] = 1000
        tally.send_lag[k] = lags[k == 50]
    report = report_of(spec, tally)
    assert report.send_lag_ms.p99 < 1
    assert any("seconds 50 to 51 left 40" in reason for reason in report.invalid_reasons)


def test_a_percentile_that_the_sample_does_not_carry_is_not_shown():
    """With 999 answers there is a p95 and no p99, with 10,000 there is a p99.9; n stands beside."""
    few = report_of(SPEC, tally_of([outcome(i) for i in range(999)], scheduled=999))
    latency = few.latency_ms["student"]
    assert (latency.n, latency.p99, latency.p99_9) == (999, None, None)
    assert latency.p75 == latency.p95 == pytest.approx(3.0, rel=0.01)
    many = Tally(1.0)
    for i in range(10_000):
        many.arrive(i / 1000)
        many.record(outcome(i, offset_s=i / 1000), SPEC)
    assert report_of(SPEC, many).latency_ms["all"].at("p99.9") == pytest.approx(3.0, rel=0.01)


def test_what_was_scheduled_is_not_the_nominal_rate():
    """28 arrivals in 20 s are 1.4 a second, whatever rate they were drawn at."""
    report = report_of(SPEC, tally_of([outcome(i) for i in range(28)], scheduled=28))
    assert report.requested_rps == pytest.approx(1.4)
    assert report.spec.rate == 100


def test_a_cold_start_is_seen():
    """The first second is five times slower than any other: the warm-up was too short."""
    slow = [outcome(i, latency_s=0.015 if i < 100 else 0.003) for i in range(2000)]
    report = report_of(SPEC, tally_of(slow))
    assert not report.valid
    assert "the target was not warm yet; raise --warmup above 2 s" in report.invalid_reasons[0]
    hiccup = [outcome(i, latency_s=0.015 if 500 <= i < 600 else 0.003) for i in range(2000)]
    assert report_of(SPEC, tally_of(hiccup)).valid


def test_limits_of_the_worst_interval():
    """A second in twenty at 30 ms keeps a p90 over the run and breaks the p90 of each interval."""
    slow = [outcome(i, latency_s=0.03 if 700 <= i < 800 else 0.003) for i in range(2000)]
    limits = {"student": {"p90": 10}}
    whole = report_of(SPEC, tally_of(slow), Slo(latency_ms=limits))
    worst = report_of(SPEC, tally_of(slow), Slo(worst_interval_ms=limits))
    assert whole.passed
    assert not worst.passed
    assert "student p90 of the worst interval, from 7 s on was 29.95 ms" in worst.checks[1].words


def test_failures_break_an_interval_of_all():
    """Half of one second fails: no answer at all is its p90."""
    mixed = [
        outcome(i, failure="http_500" if 300 <= i < 350 else None, status=500 if i < 350 else 200)
        for i in range(2000)
    ]
    slo = Slo(max_failure_rate=1, worst_interval_ms={"all": {"p90": 1000}})
    check = report_of(SPEC, tally_of(mixed), slo).checks[1]
    assert not check.passed
    assert "from 3 s on, so many requests failed" in check.words.replace(":", ",").replace(
        ",,", ","
    )


def test_streams_are_counted_by_token():
    """Four words a stream, 10 ms apart after 50: tokens a second, per token, limits and samples."""
    stream = {"first_token_s": 0.05, "token_gaps_s": (0.01, 0.01, 0.01), "latency_s": 0.08}
    outcomes = [outcome(i, **stream) for i in range(2000)]
    slo = Slo(
        latency_ms={"first_token": {"p99": 60}, "per_token": {"p99": 5}}, min_tokens_per_s=401
    )
    report = report_of(SPEC, tally_of(outcomes), slo)
    assert report.tokens_per_s == pytest.approx(400)
    assert report.streams_ms["per token"].p99 == pytest.approx(10, rel=0.01)
    assert {check.name: check.passed for check in report.checks[1:]} == {
        "tokens per second": False,
        "first_token p99": True,
        "per_token p99": False,
    }
    sample = outcomes[0].sample()
    assert (sample["first_token_ms"], sample["per_token_ms"], sample["tokens"]) == (50.0, 10.0, 4)
    assert "tokens" not in outcome(0).sample()
    console = Console(file=io.StringIO(), width=120)
    show(report, console)
    said = console.file.getvalue()
    assert "400.0 tokens per second" in said
    assert "first token" in said
