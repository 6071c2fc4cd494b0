"""The month in closed form: the published worked example, signs, identities, monotony."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.bill.machines import Fleet
from costmodel.bill.projection import Projection, project
from costmodel.errors import BadProjection
from costmodel.inputs.assumptions import Counts, OneOff, Operation, Prices, TeacherUsage, Traffic
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec, TokenUsage

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
FIVE_PERCENT = Counts(n=1_000, escalated=50)
USAGE = TokenUsage(300_000, 10_000, requests=1_000)
LONG = TokenUsage(50 * 576, 50 * 10, requests=50)
"""Escalated requests whose input is 1.92 times the mean, as when P(escalate) grows with length."""
# The example bills tokens for 30 days (3e8 requests) and machines for 730 hours. The product uses
# 730 hours for both, so the example's traffic is given as requests a month.
MONTH = Traffic(Decimal(300_000_000))
TWO_L4 = PriceSpec(usd_per_hour=Decimal("0.80"), requests_per_second=876)
TWO_H100 = PriceSpec(usd_per_hour=Decimal("3.90"), requests_per_second=876)
NO_AUDIT = Operation(audit_rate=0.0)


def _example(
    teacher: str,
    *,
    api: str | None = None,
    student: PriceSpec = TWO_L4,
    usage: TeacherUsage | None = None,
    counts: Counts = FIVE_PERCENT,
    one_off: int = 0,
) -> Projection:
    prices = Prices(
        teacher=price_of(PriceSpec(model=teacher), at=AT),
        student=price_of(student, at=AT),
        decision_api=price_of(PriceSpec(model=api), at=AT) if api else None,
    )
    return project(
        counts,
        usage or TeacherUsage(USAGE),
        prices,
        MONTH,
        one_off=OneOff(other_usd=Decimal(one_off)),
        operation=NO_AUDIT,
        starts=AT,
    )


def _month(projection: Projection, rail: str) -> Decimal:
    return projection.rail(rail).usd_per_month


def _saved(projection: Projection, baseline: str) -> int:
    found = next(b for b in projection.baselines if b.name == baseline)
    return round(100 * found.saving_share.mid)


def test_worked_example_gpt_4o_with_independent_escalation():
    """Two L4 are $1,168, 5 % escalation $12,750, against $255,000: 94.5 % saved."""
    got = _example("openai:gpt-4o", api="openai:gpt-4o-mini")
    assert _month(got, "teacher_only") == 255_000
    assert _month(got, "student_only") == 1_168
    assert got.student.machines == 2
    assert round(got.student.utilisation, 3) == 0.065
    lines = {line.name: line.usd for line in got.rail("cascade").lines}
    assert lines["teacher, escalations"] == 12_750
    assert _month(got, "cascade") == 13_918
    assert round(got.baselines[0].saving_share.mid, 3) == 0.945
    assert _month(got, "decision_api") == 15_300
    assert _saved(got, "decision_api") == 9


def test_worked_example_gpt_4o_when_long_requests_escalate():
    """Escalated input 1.92 times the mean: 90.5 % saved, and a LOSS against a small model."""
    got = _example(
        "openai:gpt-4o", api="openai:gpt-4o-mini", usage=TeacherUsage(USAGE, escalated=LONG)
    )
    lines = {line.name: line.usd for line in got.rail("cascade").lines}
    assert lines["teacher, escalations"] == 23_100
    assert _month(got, "cascade") == 24_268
    assert round(got.baselines[0].saving_share.mid, 3) == 0.905
    assert _saved(got, "decision_api") == -59
    assert next(b for b in got.baselines if b.name == "decision_api").saving.mid == -8_968


def test_worked_example_small_teacher_against_three_baselines():
    """gpt-4o-mini: $1,933; saves 87 % of list, 80 % of batch for both, 66 % of the cheapest."""
    got = _example("openai:gpt-4o-mini", api="openai:gpt-5-nano")
    assert _month(got, "cascade") == 1_933
    assert [b.usd_per_month for b in got.baselines] == [15_300, 7_650, 5_700]
    assert [_saved(got, b.name) for b in got.baselines] == [87, 80, 66]


def test_worked_example_two_h100_can_lose():
    """The same on two H100 ($5,694): 58 %, 21 % and −13 %: the loss is shown."""
    got = _example("openai:gpt-4o-mini", api="openai:gpt-5-nano", student=TWO_H100)
    assert _month(got, "student_only") == 5_694
    assert _month(got, "cascade") == 6_459
    assert [_saved(got, b.name) for b in got.baselines] == [58, 21, -13]


def test_worked_example_one_point_of_escalation_moves_the_bill_and_speed_does_not():
    """One more point of escalation costs $2,550 a month; half the student's speed costs $0."""
    base = _month(_example("openai:gpt-4o"), "cascade")
    six = _example("openai:gpt-4o", counts=Counts(n=1_000, escalated=60))
    assert _month(six, "cascade") - base == 2_550
    slow = _example("openai:gpt-4o", student=TWO_L4.model_copy(update={"requests_per_second": 438}))
    assert _month(slow, "cascade") == base


def test_worked_example_break_even():
    """$20,000 once: earned back in 1.5 months against list, 5.3 against the cheapest model."""
    got = _example("openai:gpt-4o-mini", api="openai:gpt-5-nano", one_off=20_000)
    assert got.break_even.months is not None
    assert round(got.break_even.months.mid, 1) == 1.5
    cheapest = got.baselines[-1].saving.mid
    assert round(Decimal(20_000) / cheapest, 1) == Decimal("5.3")
    assert got.break_even.date == "2027-01-09"


def test_product_month_is_730_hours_for_traffic_too():
    """10 M requests a day are 304,166,666.67 a month: 1.4 % more than the example's 30 days."""
    traffic = Traffic.per_day(10_000_000)
    assert round(traffic.requests_per_month, 2) == Decimal("304166666.67")
    assert round(traffic.requests_per_day) == 10_000_000


def test_identity_of_the_cost_ratio():
    """The bill equals r = s + e + a·(1 − e) times the teacher's, when requests are alike."""
    operation = Operation(audit_rate=0.02)
    prices = Prices(
        price_of(PriceSpec(model="openai:gpt-4o"), at=AT),
        price_of(PriceSpec(usd_per_mtok_input=Decimal("0.01"), usd_per_mtok_output=Decimal(0))),
    )
    got = project(FIVE_PERCENT, TeacherUsage(USAGE), prices, MONTH, operation=operation, starts=AT)
    s = 300 * 0.01 / (300 * 2.5 + 10 * 10)
    assert got.cost_ratio.mid == pytest.approx(s + 0.05 + 0.02 * 0.95, rel=1e-12)


def test_audits_of_kept_requests_cost_what_kept_requests_cost():
    """Escalated and kept requests together use exactly the tokens of all requests."""
    got = project(
        FIVE_PERCENT,
        TeacherUsage(USAGE, escalated=LONG),
        Prices(price_of(PriceSpec(model="openai:gpt-4o"), at=AT), price_of(TWO_L4, at=AT)),
        MONTH,
        operation=Operation(audit_rate=1.0),
        starts=AT,
    )
    lines = {line.name: line.usd for line in got.rail("cascade").lines}
    asked = lines["teacher, escalations"] + lines["teacher, audits"]
    assert round(asked, 6) == 255_000


def test_a_price_that_doubles_inside_the_month_is_integrated():
    """Argon doubles on 1 December: from 24 November noon, 156 hours are old and 574 new."""
    usage = TeacherUsage(USAGE)
    prices = Prices(
        price_of(PriceSpec(model="google:gemini-4-argon"), at=AT), price_of(TWO_L4, at=AT)
    )
    got = project(FIVE_PERCENT, usage, prices, MONTH, operation=NO_AUDIT, starts=AT)
    old = Decimal(300_000_000) * (300 * 2 + 10 * 10) / 1_000_000
    expected = old * (156 + 2 * 574) / 730
    assert round(_month(got, "teacher_only"), 6) == round(expected, 6)
    assert "for 156 h" in got.unit_prices["teacher"]
    assert "for 574 h" in got.unit_prices["teacher"]


@pytest.mark.parametrize(
    ("model", "least"), [("openai:gpt-6-luna", 1_024), ("anthropic:claude-sonnet-5-5", 4_096)]
)
def test_cached_prompt_is_a_best_term_only_when_long_enough_to_be_cached(model, least):
    """A prefix one token short of what the supplier caches is not cached."""
    prices = Prices(price_of(PriceSpec(model=model), at=AT), price_of(TWO_L4, at=AT))
    usage = TokenUsage(6_000_000, 10_000, requests=1_000)
    usd = {}
    for fixed in (least - 1, least):
        sample = TeacherUsage(usage, fixed_input_tokens=fixed)
        got = project(FIVE_PERCENT, sample, prices, MONTH, starts=AT)
        usd[fixed] = got.baselines[1].usd_per_month
        assert ("fixed prompt in the cache" in got.baselines[1].words) == (fixed == least)
    assert usd[least] < usd[least - 1]


def test_teacher_without_known_terms_says_so():
    """A negotiated price has no known batch or cache terms: the baseline is the price, in words."""
    prices = Prices(
        price_of(PriceSpec(usd_per_mtok_input=Decimal(1), usd_per_mtok_output=Decimal(2))),
        price_of(TWO_L4, at=AT),
    )
    got = project(FIVE_PERCENT, TeacherUsage(USAGE), prices, MONTH, starts=AT)
    assert got.baselines[1].usd_per_month == got.baselines[0].usd_per_month
    assert "no cheaper terms" in got.baselines[1].words


def test_interval_of_the_saving_comes_from_the_counts():
    """The same rate from ten times the rows gives a narrower interval around the same middle."""
    few = _example("openai:gpt-4o", counts=Counts(n=100, escalated=5)).savings
    many = _example("openai:gpt-4o", counts=Counts(n=1_000, escalated=50)).savings
    assert few.mid == many.mid
    assert few.low < many.low < many.mid < many.high < few.high


def test_few_requests_a_day_do_not_pay():
    """At 100 requests a day two machines cost more than the teacher: a negative saving, no date."""
    prices = Prices(price_of(PriceSpec(model="openai:gpt-4o"), at=AT), price_of(TWO_L4, at=AT))
    got = project(FIVE_PERCENT, TeacherUsage(USAGE), prices, Traffic.per_day(100), starts=AT)
    assert got.savings.high < 0
    assert got.break_even.months is None
    assert got.break_even.date is None
    limit = got.break_even.minimum_requests_per_day
    assert limit is not None
    above = project(
        FIVE_PERCENT, TeacherUsage(USAGE), prices, Traffic.per_day(limit * 1.001), starts=AT
    )
    below = project(
        FIVE_PERCENT, TeacherUsage(USAGE), prices, Traffic.per_day(limit * 0.999), starts=AT
    )
    assert below.savings.mid < 0 < above.savings.mid


def test_break_even_escalation_rate_is_where_the_saving_vanishes():
    """One row of a million more than the stated rate loses money, one less saves."""
    prices = Prices(price_of(PriceSpec(model="openai:gpt-5-nano"), at=AT), price_of(TWO_L4, at=AT))
    got = project(FIVE_PERCENT, TeacherUsage(USAGE), prices, MONTH, starts=AT)
    rate = got.break_even.escalation_rate
    assert rate is not None
    signs = []
    for shift in (-1e-4, 1e-4):
        counts = Counts(n=1_000_000, escalated=round((rate + shift) * 1_000_000))
        month = project(counts, TeacherUsage(USAGE), prices, MONTH, starts=AT)
        signs.append(month.savings.mid > 0)
    assert signs == [True, False]


def test_machines_are_added_when_the_peak_needs_them():
    """Two machines carry a peak of 1,226.4 a second at 70 %: a little more takes a third."""
    fleet = Fleet(min_machines=2, peak_to_mean=3.3, max_utilisation=0.7)
    edge = 2 * 876 * 0.7 / 3.3
    assert fleet.machines(edge * 0.9999, 876) == 2
    assert fleet.machines(edge * 1.0001, 876) == 3


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 5_000),
    share=st.floats(0, 1),
    wrong=st.floats(0, 1),
    per_day=st.floats(1, 1e9),
    audit=st.floats(0, 1),
    attempts=st.floats(1, 5),
)
def test_no_line_is_negative_and_more_traffic_never_costs_less(
    n, share, wrong, per_day, audit, attempts
):
    """Bills are sums of lines ≥ 0, and twice the traffic costs at least as much."""
    escalated = round(share * n)
    counts = Counts(n, escalated, round(wrong * (n - escalated)))
    prices = Prices(_GPT, _BOX)
    operation = Operation(audit_rate=audit, attempts=attempts)
    months = [
        project(counts, TeacherUsage(USAGE), prices, Traffic.per_day(x), operation=operation)
        for x in (per_day, 2 * per_day)
    ]
    for month in months:
        for rail in month.rails:
            assert all(line.usd >= 0 for line in rail.lines), rail
            assert rail.usd_per_month == sum(line.usd for line in rail.lines)
        low, mid, high = (round(x, 9) for x in month.savings.model_dump().values())
        assert low <= mid <= high
        assert 0 <= month.agreement.low <= month.agreement.mid <= month.agreement.high <= 1
    for first, second in zip(months[0].rails, months[1].rails, strict=True):
        assert second.usd_per_month >= first.usd_per_month


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 5_000), data=st.data())
def test_more_escalation_never_costs_less(n, data):
    """The cascade's bill grows with the escalated rows."""
    fewer = data.draw(st.integers(0, n - 1))
    prices = Prices(_GPT, _BOX)
    bills = [
        project(Counts(n, k), TeacherUsage(USAGE), prices, MONTH).rail("cascade").usd_per_month
        for k in (fewer, fewer + 1)
    ]
    assert bills[0] < bills[1]


_GPT = price_of(PriceSpec(model="openai:gpt-4o"))
_BOX = price_of(PriceSpec(machine="aws:c7i.large", requests_per_second=2_000))


def test_projection_is_plain_json():
    """The projection survives JSON, amounts as numbers, without infinities."""
    import json

    text = json.dumps(_example("openai:gpt-4o").model_dump(mode="json"), allow_nan=False)
    assert json.loads(text)["savings"]["mid"] == 241_082.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Counts(0, 0), "0 rows"),
        (lambda: Counts(10, 11), "11 escalated"),
        (lambda: Counts(10, 5, 6), "6 disagreements"),
        (lambda: Traffic(Decimal(0)), "above 0"),
        (lambda: Traffic(Decimal("NaN")), "above 0"),
        (lambda: Operation(audit_rate=1.5), "audit_rate is 1.5"),
        (lambda: Operation(attempts=0.5), "attempts is 0.5"),
        (lambda: TeacherUsage(TokenUsage(requests=0)), "0 requests"),
        (lambda: Fleet(min_machines=0), "min_machines is 0"),
        (lambda: Fleet(peak_to_mean=0.5), "peak_to_mean is 0.5"),
        (lambda: Fleet(max_utilisation=1.5), "max_utilisation is 1.5"),
    ],
)
def test_what_cannot_be_is_one_sentence(make, words):
    """Impossible input names what was found and what is allowed."""
    with pytest.raises(BadProjection, match=words):
        make()


def test_a_free_teacher_is_refused():
    """Nothing can be saved on a teacher that costs nothing: it is not a saving of 0 %."""
    free = price_of(PriceSpec(usd_per_mtok_input=Decimal(0), usd_per_mtok_output=Decimal(0)))
    with pytest.raises(BadProjection, match="the teacher costs 0"):
        project(FIVE_PERCENT, TeacherUsage(USAGE), Prices(free, _BOX), MONTH)
