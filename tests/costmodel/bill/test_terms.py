"""Prices that depend on each request, its arm or its moment: tiers, caches, deferred terms."""

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from genai_prices import Usage, calc_price

from costmodel.bill.baselines import other_terms
from costmodel.bill.simulated import labelling_usd, month_bill, prices_of
from costmodel.bill.usage import billed, every_request, hit_rate
from costmodel.engine.run import simulate
from costmodel.errors import BadScenario, UnknownPrice
from costmodel.inputs.assumptions import TeacherUsage
from costmodel.inputs.scenario import Scenario, vary
from costmodel.inputs.taskfile import read_deployment
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec, TokenUsage
from costmodel.money.sizes import Sizes
from costmodel.whatif import project_deployment

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
TIERED = "openai:gpt-6-luna"
LONG = {
    "name": "long",
    "workload": {"per_day": 86_400, "tokens": {"mean": 200_000, "cv": 0.9, "most": 1_000_000}},
    "days": 0.02,
    "start": "2026-11-24T00:00:00Z",
    "student": {"price": {"usd_per_hour": 1, "requests_per_second": 1000}},
    "policy": {"escalation_rate": 0.2, "audit_rate": 0.05},
    "teacher": {
        "kind": "api", "prompt_tokens": 0, "output_tokens": {"mean": 500},
        "price": {"model": TIERED},
    },
}  # fmt: skip
COUNTS = {"evaluation.n": 2600, "evaluation.escalated": 290, "evaluation.disagreements": 40}


def _scenario(**changes) -> Scenario:
    return vary(Scenario.model_validate(LONG), changes)


def _oracle(tokens, written=500) -> float:
    """The mean of genai-prices' own price over requests of these sizes."""
    model = TIERED.partition(":")[2]
    paid = [
        calc_price(
            Usage(input_tokens=int(n), output_tokens=written),
            model,
            provider_id="openai",
            genai_request_timestamp=AT,
        ).total_price
        for n in tokens
    ]
    return float(sum(paid)) / len(paid)


@pytest.mark.parametrize(("mean", "cv"), [(200_000, 0.9), (250_000, 0.3), (300_000, 0.5)])
def test_a_tier_is_that_of_each_request_and_not_of_the_mean_one(mean, cv):
    """Teacher-only equals the mean of calc_price over the file's own lengths."""
    scenario = _scenario(**{"workload.tokens.mean": mean, "workload.tokens.cv": cv})
    bill = month_bill(simulate(scenario, 1), prices_of(scenario))
    table = scenario.workload.tokens.table()
    drawn = np.interp((np.arange(4000) + 0.5) / 4000, np.linspace(0, 1, table.size), table)
    assert float(bill.teacher_only / bill.requests) == pytest.approx(_oracle(drawn), rel=0.05)


@pytest.mark.parametrize("tied", [-0.8, 0.0, 0.8])
def test_what_escalates_is_in_the_tiers_of_its_own_lengths(tied):
    """Escalated and audited calls: the mean of calc_price over the lengths each arm has."""
    changes = {"quality.length_correlation": tied, "days": 0.3, "teacher.max_concurrency": 5000}
    result = simulate(_scenario(**changes), 2)
    price = price_of(PriceSpec(model=TIERED), at=AT)
    rng = np.random.default_rng(4)
    table = result.scenario.workload.tokens.table()
    rank = rng.random(60_000)
    unsure = (
        np.where(
            rng.random(rank.size) < abs(tied),
            np.where(tied > 0, 1 - rank, rank),
            rng.random(rank.size),
        )
        < 0.2
    )
    tokens = np.interp(rank, np.linspace(0, 1, table.size), table)
    for prefix, calls, mine in (("", "teacher_calls", unsure), ("audit_", "audit_calls", ~unsure)):
        paid = price.cost(billed(result, prefix)(result.counts), AT).usd
        each = float(paid) / result.counts[calls]
        assert each == pytest.approx(_oracle(tokens[mine][:4000]), rel=0.08), prefix


def test_a_task_prices_the_lengths_that_its_labels_had(plain_task):
    """Quantiles of the labels' lengths put a task's tail above the tier; proportions count."""
    path = plain_task[1]
    lengths = (50_000.0, 100_000.0, 150_000.0, 900_000.0)
    changes = {
        **COUNTS, "teacher.price.model": TIERED,
        "usage.input_tokens": 300_000, "usage.output_tokens": 0,
    }  # fmt: skip
    flat = project_deployment(read_deployment(path, changes=changes), starts=AT)
    spread = read_deployment(path, changes={**changes, "usage.input_quantiles": lengths})
    got = project_deployment(spread, starts=AT)
    each = got.rail("teacher_only").usd_per_1k / 1000
    assert float(each) == pytest.approx(_oracle(lengths, written=0), rel=1e-6)
    assert flat.rail("teacher_only").usd_per_1k > got.rail("teacher_only").usd_per_1k


def test_cache_writes_are_paid_as_genai_prices_pays_them():
    """A cold call writes the prefix at its own, higher price."""
    price = price_of(PriceSpec(model="anthropic:claude-sonnet-5-5"), at=AT)
    got = price.cost(TokenUsage(10_000, 100, 3_000, 1, cache_write_tokens=5_000), AT).usd
    usage = Usage(
        input_tokens=10_000, output_tokens=100, cache_read_tokens=3_000, cache_write_tokens=5_000
    )
    told = calc_price(usage, "claude-sonnet-5-5", provider_id="anthropic",
                      genai_request_timestamp=AT)  # fmt: skip
    assert got == told.total_price


def test_few_escalations_leave_the_cache_cold():
    """All requests keep the prefix warm, five in a hundred of few do not: hits follow the rate."""
    rare = {"workload.per_day": 2_000, "policy.escalation_rate": 0.05, "days": 1.0,
            "workload.tokens": {"mean": 40}, "teacher.prompt_tokens": 5_000,
            "teacher.cached_prompt_tokens": 4_500}  # fmt: skip
    result = simulate(_scenario(**rare), 1)
    every = every_request(result)(result.counts)
    asked = billed(result, "")(result.counts)
    n = result.counts["requests"]
    assert every.cached_input_tokens / (4_500 * n) == pytest.approx(
        1 - np.exp(-n / 86_400 * 300), rel=1e-3
    )
    calls = result.counts["teacher_calls"] + result.counts["audit_calls"]
    hits = asked.cached_input_tokens / (4_500 * result.counts["teacher_calls"])
    assert hits == pytest.approx(1 - np.exp(-calls / 86_400 * 300), abs=0.01)
    assert asked.cached_input_tokens + asked.cache_write_tokens == 4_500 * asked.requests
    stated = result.scenario.teacher.model_copy(update={"cache_hit_rate": 0.25})
    result.scenario.__dict__["teacher"] = stated
    assert hit_rate(result, calls) == 0.25


def test_hits_are_counted_hour_by_hour():
    """The same calls packed into a few hours find the cache warm more often than spread out."""
    day = [0.0] * 20 + [6.0] * 4
    busy = simulate(_scenario(**{"days": 1.0, "workload.per_day": 400, "workload.hourly": day}), 1)
    even = simulate(_scenario(**{"days": 1.0, "workload.per_day": 400}), 1)
    assert hit_rate(busy, 400) > hit_rate(even, 400) + 0.2


def test_audits_and_labels_wait_at_their_own_terms():
    """Audits and labels at batch cost what genai-prices says of batch, escalations do not move."""
    texts = {"teacher.price.model": "openai:gpt-4o", "workload.tokens": {"mean": 40},
             "one_off.labelled_texts": 1000}  # fmt: skip
    now = _scenario(**texts)
    later = vary(now, {"policy.audit_processing": "batch", "one_off.label_processing": "batch"})
    result = simulate(now, 1)
    prices = prices_of(now)
    lines = {}
    for scenario in (now, later):
        object.__setattr__(result, "scenario", scenario)
        bill = month_bill(result, prices)
        labels = labelling_usd(scenario, result, prices.teacher, every_request(result))
        lines[scenario is later] = {line.name: line.usd for line in bill.asked} | {"labels": labels}
    before, after = lines[False], lines[True]
    assert after["teacher, escalations"] == before["teacher, escalations"]
    for name in ("teacher, audits", "labels"):
        assert float(after[name] / before[name]) == pytest.approx(0.5)


def test_terms_that_nobody_knows_are_refused_in_one_sentence():
    """Flex of a model without it names the terms there are; a price by tokens has none."""
    with pytest.raises(UnknownPrice, match=r"no flex price is known for .*; genai-prices knows"):
        price_of(PriceSpec(model="openai:gpt-4o", processing="flex"), at=AT)
    with pytest.raises(ValueError, match=r"processing.* need a model"):
        PriceSpec(usd_per_mtok_input=1, usd_per_mtok_output=1, processing="batch")
    own = {"teacher.price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
           "workload.tokens": {"mean": 40}, "policy.audit_processing": "batch"}  # fmt: skip
    scenario = _scenario(**own)
    with pytest.raises((BadScenario, UnknownPrice), match=r"needs teacher\.price\.model"):
        month_bill(simulate(scenario, 1), prices_of(scenario))


@pytest.mark.parametrize(
    ("model", "processing", "context"),
    [
        (TIERED, "flex", {"service_tier": "flex"}),
        (TIERED, "priority", {"service_tier": "priority"}),
        ("openai:gpt-4o", "fast", {"service_tier": "fast"}),
        ("anthropic:claude-fable-5-2", "fast", {"speed": "fast"}),
    ],
)
def test_each_known_variant_costs_what_genai_prices_says(model, processing, context):
    """Flex, priority and both kinds of fast."""
    price = price_of(PriceSpec(model=model, processing=processing), at=AT)
    provider, name = model.split(":")
    told = calc_price(Usage(input_tokens=900, output_tokens=50), name, provider_id=provider,
                      genai_request_timestamp=AT, price_context=context)  # fmt: skip
    assert price.cost(TokenUsage(900, 50), AT).usd == told.total_price
    assert f"{processing} price" in price.words


def test_both_sides_of_a_comparison_are_on_the_same_terms(plain_task):
    """At batch the teacher costs half, and so do the cascade's own calls."""
    changes = {**COUNTS, "usage.input_tokens": 300, "usage.output_tokens": 10}
    got = project_deployment(read_deployment(plain_task[1], changes=changes), starts=AT)
    listed, best = got.baselines[:2]
    asked = listed.cascade_usd_per_month - got.student.provisioned_usd
    assert best.usd_per_month == pytest.approx(listed.usd_per_month / 2)
    assert best.cascade_usd_per_month == pytest.approx(listed.cascade_usd_per_month - asked / 2)
    assert best.saving.mid == best.usd_per_month - best.cascade_usd_per_month
    assert best.words.startswith("both sides: ")


def test_flex_is_among_the_best_terms_and_says_what_it_costs():
    """Cheaper terms come with what those who wait pay for them."""
    price = price_of(PriceSpec(model=TIERED), at=AT)
    terms = other_terms(price, TeacherUsage(TokenUsage(300_000, 0, requests=1000)), 100.0, 5.0)
    assert {one.price.processing for one in terms} == {"batch", "flex"}
    assert all("escalations too" in one.words for one in terms)


def test_lengths_of_paid_labels_are_read_from_disk(tmp_path):
    """The task reads quantiles of what each label's call read, from the replies beside them."""
    from costmodel.inputs.taskfile import _label_lengths

    path = tmp_path / "replies.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("create table replies (input_tokens integer)")
        connection.executemany("insert into replies values (?)", [(n,) for n in range(1, 102)])
    assert _label_lengths(path)[50] == pytest.approx(51)
    assert _label_lengths(tmp_path / "none.sqlite") == ()


def test_a_cut_at_a_tier_leaves_nothing_out():
    """Shares of requests and tokens sum to one, wherever the cuts are."""
    sizes = Sizes.of(np.array([1.0, 2.0, 3.0, 10.0]))
    parts = sizes.parts(4.0, [2, 5])
    assert [part.above for part in parts] == [0, 2, 5]
    for share in ("requests", "read", "written"):
        assert sum(getattr(part, share) for part in parts) == Decimal(1)
    assert parts[-1].read == Decimal("0.625")
