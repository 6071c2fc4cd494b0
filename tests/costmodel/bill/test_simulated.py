"""From counts to dollars: the product formula to the cent, dated prices, idle and lost calls."""

from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from costmodel.bill.simulated import (
    month_bill,
    month_usd,
    prices_of,
    replica_rate,
    traffic_factor,
)
from costmodel.bill.usage import mean_tokens
from costmodel.engine.run import simulate
from costmodel.errors import BadScenario, UnknownPrice
from costmodel.inputs.scenario import Scenario, load, vary
from costmodel.money.pricing import TokenUsage

EXAMPLE = Path(__file__).parents[3] / "examples" / "scenarios" / "ten-million-a-day.yaml"
PLAIN = {
    "name": "plain",
    "workload": {"per_second": 100, "arrivals": "even", "tokens": {"mean": 40}},
    "days": 0.01,
    "student": {"price": {"usd_per_hour": 1, "requests_per_second": 1000}},
    "policy": {"escalation_rate": 0.1, "audit_rate": 0.05},
    "teacher": {
        "kind": "api",
        "prompt_tokens": 260,
        "output_tokens": {"mean": 10},
        "price": {"usd_per_mtok_input": 2.5, "usd_per_mtok_output": 10},
    },
}


def _scenario(**changes) -> Scenario:
    return vary(Scenario.model_validate(PLAIN), changes)


def _bill(scenario: Scenario):
    return month_bill(simulate(scenario, 3), prices_of(scenario))


def _lines(bill) -> dict[str, Decimal]:
    return {
        line.name: line.usd for line in next(r for r in bill.rails if r.name == "cascade").lines
    }


def test_all_teacher_costs_the_product_formula_to_the_cent():
    """With everything escalated, the teacher's line is requests × (300 in, 10 out) at list."""
    scenario = _scenario(**{"policy.escalation_rate": 1.0, "teacher.max_concurrency": 1000})
    bill = _bill(scenario)
    each = (Decimal(300) * Decimal("2.5") + Decimal(10) * 10) / 1_000_000
    assert round(bill.teacher_only, 2) == round(bill.requests * each, 2)
    # What is still in flight at the end of the run has not been billed: under 0.1 % of it.
    asked = _lines(bill)["teacher, escalations"]
    assert asked == pytest.approx(bill.requests * each, rel=Decimal("0.001"))


def test_requests_of_the_month_are_rate_times_730_hours():
    """100 a second for 730 hours are 262.8 million, however little was simulated."""
    for days in (0.01, 0.02):
        assert float(_bill(_scenario(days=days)).requests) == pytest.approx(262.8e6, rel=2e-3)


def test_student_is_paid_by_the_hour_busy_or_idle():
    """Two replicas at a dollar are 1,460 a month; busy and idle share it."""
    bill = _bill(_scenario())
    lines = _lines(bill)
    paid = lines["student machines, busy"] + lines["student machines, idle"]
    assert round(paid, 6) == 1_460
    assert 0 < bill.student.utilisation < 0.2
    assert bill.student.machines == 2


def test_a_day_with_a_shape_may_be_simulated_in_part():
    """The quiet first hours of a day, scaled by traffic, give the whole day's month."""
    example = load(EXAMPLE, {"days": 0.25, "workload.per_day": 200_000})
    whole = load(EXAMPLE, {"days": 1.0, "workload.per_day": 200_000})
    part, day = simulate(example, 3), simulate(whole, 3)
    assert float(traffic_factor(day)) == pytest.approx(730 / 24, rel=0.02)
    assert traffic_factor(part) > 6 * traffic_factor(day)
    bills = [month_bill(run, prices_of(run.scenario)) for run in (part, day)]
    assert float(bills[0].requests) == pytest.approx(6.083e6, rel=0.01)
    assert float(bills[0].teacher_only) == pytest.approx(float(bills[1].teacher_only), rel=0.01)


def test_the_number_of_requests_is_the_files_and_not_the_seeds():
    """Bursts scatter a run's arrivals; the month has what the file says, with every seed."""
    bursts = {"factor": 8, "share": 0.1, "mean_s": 300}
    scenario = _scenario(**{"workload.arrivals": "poisson", "workload.bursts": bursts})
    runs = [simulate(scenario, seed) for seed in range(4)]
    assert len({run.counts["requests"] // 10_000 for run in runs}) > 1
    bills = [month_bill(run, prices_of(scenario)) for run in runs]
    assert {float(bill.requests) for bill in bills} == {262.8e6}


def test_growth_is_in_the_month():
    """Traffic that doubles in a month has 1/ln 2 = 1.44 times the requests of a flat one."""
    scenario = _scenario(**{"workload.growth_per_month": 1.0})
    assert float(_bill(scenario).requests) / 262.8e6 == pytest.approx(1.4427, rel=5e-3)


def test_a_price_that_doubles_inside_the_month_is_integrated_over_the_run():
    """Argon doubles on 1 December: from 24 November midnight 168 hours are old, 562 new."""
    start = datetime.fromisoformat("2026-11-24T00:00:00+00:00")
    scenario = _scenario(
        start=start.isoformat(), **{"teacher.price": {"model": "google:gemini-4-argon"}}
    )
    result = simulate(scenario, 1)
    usage = TokenUsage(300, 10)
    prices = prices_of(scenario)
    old = prices.teacher.cost(usage, start).usd
    bill = month_bill(result, prices)
    mean = bill.teacher_only / bill.requests
    assert float(mean / old) == pytest.approx((168 + 2 * 562) / 730, rel=2e-3)


def test_hourly_prices_follow_the_hours_of_the_traffic():
    """Deepseek doubles in 7 of 24 hours: a whole simulated day pays 31/24 of the quiet price."""
    start = "2026-11-24T00:00:00+00:00"
    scenario = _scenario(
        start=start, days=1.0,
        **{"workload.per_second": 5, "teacher.price": {"model": "deepseek:deepseek-flash"}},
    )  # fmt: skip
    result = simulate(scenario, 1)
    prices = prices_of(scenario)
    bill = month_bill(result, prices)
    quiet = (300 * Decimal("0.15") + 10 * Decimal("0.60")) / 1_000_000
    assert float(bill.teacher_only / bill.requests / quiet) == pytest.approx(31 / 24, rel=0.01)


def test_failed_and_cancelled_calls_have_their_own_line():
    """Calls that fail are billed what was sent, on their own line; failed audits stay audits."""
    result = simulate(_scenario(**{"teacher.failure_rate": 0.3, "teacher.asking": None}), 3)
    bill, counts = month_bill(result, prices_of(result.scenario)), result.counts
    lines, month = _lines(bill), bill.requests / counts["requests"]
    answered, audited = counts["output_tokens"] // 10, counts["audit_output_tokens"] // 10
    failed = counts["teacher_calls"] - answered
    assert counts["calls_cancelled"] == 0 < failed
    assert counts["calls_failed"] == failed + counts["audit_calls"] - audited
    sent, whole = Decimal("0.00075"), Decimal("0.00085")
    for name, usd in (
        ("escalations", answered * whole),
        ("retried and cancelled", failed * sent),
        ("audits", audited * whole + (counts["audit_calls"] - audited) * sent),
    ):
        assert lines[f"teacher, {name}"] == pytest.approx(usd * month), name
    clean = _lines(_bill(_scenario()))
    assert "teacher, retried and cancelled" not in clean
    total = sum(usd for name, usd in lines.items() if name.startswith("teacher"))
    assert total > sum(usd for name, usd in clean.items() if name.startswith("teacher"))


@pytest.mark.parametrize(("failing", "audits"), [(0, 0), (0, 0.05), (0.2, 0)])
def test_the_slower_of_two_hedged_calls_is_a_cancelled_one(failing, audits):
    """Asked twice and answered once: the other call is paid in full and bought nothing."""
    hedging = {"teacher.asking": {"hedge": True}, "teacher.max_concurrency": 99}
    chances = {"teacher.failure_rate": failing, "policy.audit_rate": audits}
    result = simulate(_scenario(**hedging, **chances), 3)
    counts = result.counts
    lost, failed = counts["lost_calls"], counts["teacher_calls"] - counts["output_tokens"] // 10
    cancelled = lost - failed
    assert cancelled > 100
    assert counts["teacher_calls"] - lost == counts["teacher"]
    if audits:
        assert counts["calls_cancelled"] > cancelled
    else:
        assert (counts["calls_failed"], counts["calls_cancelled"]) == (failed, cancelled)
    bill = month_bill(result, prices_of(result.scenario))
    paid = failed * Decimal("0.00075") + cancelled * Decimal("0.00085")
    paid *= bill.requests / counts["requests"]
    assert _lines(bill)["teacher, retried and cancelled"] == pytest.approx(paid)


def test_cached_prompt_tokens_are_billed_as_cached():
    """The cached part of a prompt costs its own price."""
    price = {
        "usd_per_mtok_input": 2.5,
        "usd_per_mtok_output": 10,
        "usd_per_mtok_cached_input": 0.25,
    }
    full = _bill(_scenario(**{"teacher.price": price}))
    cached = _bill(_scenario(**{"teacher.price": price, "teacher.cached_prompt_tokens": 260}))
    saved = full.teacher_only - cached.teacher_only
    assert float(saved / full.requests) == pytest.approx(260 * 2.25 / 1e6, rel=1e-6)


def test_retraining_is_a_line_of_the_month():
    """Two new students a month: their labels and their training, twice."""
    scenario = _scenario(
        one_off={"labelled_texts": 10_000, "training_usd": 50, "retrainings_per_month": 2}
    )
    expected = 2 * (10_000 * Decimal("0.00085") + 50)
    assert float(_lines(_bill(scenario))["retraining, monitoring"]) == pytest.approx(
        float(expected), rel=1e-6
    )


def test_replica_rate_is_that_of_full_batches():
    """64 texts of 40 tokens in 0.3 ms + 64 · 40 · 2 µs."""
    scenario = _scenario()
    assert mean_tokens(scenario) == 40
    assert replica_rate(scenario) == pytest.approx(64 / (0.0003 + 64 * 40 * 0.000002))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"teacher.price": None}, BadScenario, "teacher.price is missing"),
        ({"student.price": None}, BadScenario, "student.price is missing"),
        ({"student.price": {"model": "openai:gpt-4o"}}, BadScenario, "has to be hourly"),
        ({"teacher.price": {"model": "openai:gtp-4o"}}, UnknownPrice, "openai:gpt-4o"),
        ({"baselines": {"x": {"model": "nobody:x"}}}, UnknownPrice, "nobody:x"),
    ],
)
def test_missing_and_unknown_prices_are_one_sentence(changes, error, words):
    """A scenario without a price names the field and gives an example."""
    with pytest.raises(error, match=words):
        prices_of(_scenario(**changes))


def test_more_traffic_never_costs_less():
    """Each rail of the month grows with the traffic."""
    bills = [_bill(_scenario(**{"workload.per_second": rate})) for rate in (50, 100, 200)]
    for small, large in pairwise(bills):
        for first, second in zip(small.rails, large.rails, strict=True):
            assert second.usd_per_month >= first.usd_per_month
            assert all(line.usd >= 0 for line in first.lines)


def test_month_usd_of_a_constant_price_is_the_total():
    """Without dated changes, windows add up to the run."""
    scenario = _scenario()
    result = simulate(scenario, 3)

    def use(counts):
        return TokenUsage(counts["requests"], 0, 0, counts["requests"])

    usd = month_usd(result, prices_of(scenario).teacher, use)
    expected = result.counts["requests"] * Decimal("2.5") / 1_000_000 * traffic_factor(result)
    assert usd == expected
