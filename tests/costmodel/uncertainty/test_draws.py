"""Quantiles that cover the truth, a tornado that adds up, limits where the saving vanishes."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from costmodel.bill.projection import Projection, project
from costmodel.inputs.assumptions import Counts, OneOff, Operation, Prices, TeacherUsage, Traffic
from costmodel.inputs.stated_doubt import Doubt, Range
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec, TokenUsage
from costmodel.uncertainty.draws import MoneyModel, Rival, quantify, rivals_of

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRICES = Prices(
    price_of(PriceSpec(model="openai:gpt-4o"), at=AT),
    price_of(PriceSpec(usd_per_hour=Decimal("0.80"), requests_per_second=876), at=AT),
)
EXACT = Doubt(traffic=0, lengths=0, escalated_factor=0)


def _project(
    counts: Counts, tokens: float = 300, *, factor: float = 1.0, per_day: float = 1e7
) -> Projection:
    n = 1_000_000
    escalated = None
    if factor != 1.0:
        escalated = TokenUsage(round(tokens * factor * n), 10 * n, requests=n)
    usage = TeacherUsage(TokenUsage(round(tokens * n), 10 * n, requests=n), escalated)
    return project(
        counts,
        usage,
        PRICES,
        Traffic.per_day(per_day),
        one_off=OneOff(other_usd=Decimal(20_000)),
        operation=Operation(audit_rate=0.01),
        starts=AT,
    )


@pytest.mark.parametrize("factor", [1.0, 1.92])
def test_model_at_its_middle_is_the_projection(factor):
    """The vectorised month equals the projected one to a part in a billion."""
    got = _project(Counts(1_000, 50, 20), factor=factor)
    model = MoneyModel(got)
    cascade = float(got.rail("cascade").usd_per_month)
    assert float(model.cascade(model.middle)) == pytest.approx(cascade, rel=1e-9)
    assert float(model.saving(model.middle)) == pytest.approx(float(got.savings.mid), rel=1e-9)


@pytest.mark.parametrize("name", ["traffic", "student_price", "teacher_price", "escalation_rate"])
def test_model_away_from_its_middle_is_another_projection(name):
    """Half of an input gives what projecting that world gives."""
    base = MoneyModel(_project(Counts(1_000, 50, 20)))
    x = {**base.middle, name: base.middle[name] / 2}
    got = float(base.cascade(x))
    if name == "traffic":
        other = _project(Counts(1_000, 50, 20), per_day=5e6).rail("cascade").usd_per_month
    elif name == "escalation_rate":
        other = _project(Counts(1_000, 25, 20)).rail("cascade").usd_per_month
    else:
        lines = _project(Counts(1_000, 50, 20)).rail("cascade").lines
        side = "student" if name == "student_price" else "teacher"
        other = sum(x.usd / (2 if x.name.startswith(side) else 1) for x in lines)
    assert got == pytest.approx(float(other), rel=1e-9)


def test_p10_to_p90_covers_the_true_cost_in_synthetic_worlds():
    """In 250 worlds with a known truth, the band holds the true month in 80 % of them.

    Each world has its own escalation rate, seen through 500 labelled rows, and lengths and traffic
    that are off by as much as the stated doubt says.
    """
    rng = np.random.default_rng(11)
    doubt = Doubt(traffic=0.1, lengths=0.05, escalated_factor=0)
    hits, worlds, n = 0, 250, 500
    for world in range(worlds):
        rate = rng.uniform(0.02, 0.4)
        seen = Counts(n, int(rng.binomial(n, rate)))
        uncertain = quantify(_project(seen), doubt, seed=world, draws=1_000)
        true = MoneyModel(_project(Counts(1_000_000, round(rate * 1_000_000))))
        month = float(
            true.cascade(
                {
                    **true.middle,
                    "traffic": rng.lognormal(-0.00498, 0.09975),
                    "lengths": rng.lognormal(-0.00125, 0.04997),
                }
            )
        )
        hits += uncertain.cascade_usd.p10 <= month <= uncertain.cascade_usd.p90
    # 80 % ± 3 standard errors (2.5 % each) of 250 worlds.
    assert 0.724 <= hits / worlds <= 0.876


def test_tornado_adds_up_to_the_spread():
    """Independent inputs: the bars' variances sum to the variance of the drawn saving."""
    got = quantify(_project(Counts(2_000, 160, 40), factor=1.5), Doubt(), draws=50_000)
    bars = sum((swing.width / 2 / 1.2816) ** 2 for swing in got.tornado)
    spread = ((got.saving_usd.p90 - got.saving_usd.p10) / 2 / 1.2816) ** 2
    assert bars == pytest.approx(spread, rel=0.1)
    assert [s.width for s in got.tornado] == sorted((s.width for s in got.tornado), reverse=True)


def test_escalation_moves_the_bill_and_the_students_price_does_not():
    """With traffic known, the escalation rate matters more than a machine at twice the price."""
    doubt = Doubt(traffic=0, lengths=0, escalated_factor=0, student_price=Range(low=0.5, high=2))
    got = quantify(_project(Counts(1_000, 50)), doubt)
    assert [s.input for s in got.tornado] == ["escalation_rate", "student_price"]
    assert got.tornado[0].width > 4 * got.tornado[1].width


def test_without_doubt_only_the_counts_speak():
    """Exact inputs leave the sampling error of the counts, and nothing else."""
    got = quantify(_project(Counts(1_000, 50)), EXACT)
    assert [s.input for s in got.tornado] == ["escalation_rate"]
    assert got.cascade_usd.p10 < got.cascade_usd.p50 < got.cascade_usd.p90


@pytest.mark.parametrize("per_day", [1e7, 3e4, 500.0])
def test_limits_are_where_the_saving_vanishes(per_day):
    """At each stated limit the saving changes its sign, whether it pays today or not."""
    projection = _project(Counts(1_000, 100, 10), per_day=per_day)
    model = MoneyModel(projection)
    limits = quantify(projection, draws=2_000).limits
    found = [limit for limit in limits if limit.limit is not None]
    assert {limit.input for limit in found} >= {"traffic", "teacher_price"}
    for limit in found:
        around = [limit.limit * (1 - 1e-6), limit.limit * (1 + 1e-6)]
        signs = [float(model.saving({**model.middle, limit.input: x})) > 0 for x in around]
        assert signs[0] != signs[1], limit


def test_a_month_that_loses_says_so_in_every_draw():
    """Ten requests a day never pay two machines: the probability of a loss is 1."""
    got = quantify(_project(Counts(1_000, 50), per_day=10))
    assert got.probability_of_loss == 1
    assert got.break_even_months is None
    assert got.saving_usd.p90 < 0


def test_same_seed_same_figures():
    """The same seed gives the same bytes; another one, other draws."""
    projection = _project(Counts(1_000, 50))
    first = quantify(projection, seed=1).model_dump_json()
    assert quantify(projection, seed=1).model_dump_json() == first
    assert quantify(projection, seed=2).model_dump_json() != first


def test_a_difference_is_drawn_on_the_same_draws_on_both_sides():
    """A rival that is the teacher has the teacher's band; one of half its price has that of half.

    Traffic and lengths move both sides: a band of the cascade alone would be too narrow by far.
    """
    got = _project(Counts(1_000, 112, 20))
    listed = float(got.rail("teacher_only").usd_per_month)
    rivals = {
        "same": Rival(listed, teacher=True),
        "half": Rival(listed / 2, teacher=True),
        "other": Rival(listed / 2),
        "terms": Rival(listed / 2, teacher=True, asked_factor=0.5),
    }
    found = quantify(got, Doubt(traffic=0.3, lengths=0.2), rivals=rivals)
    assert found.savings["same"] == found.saving_usd
    width = {name: band.p90 - band.p10 for name, band in found.savings.items()}
    alone = found.cascade_usd.p90 - found.cascade_usd.p10
    assert width["half"] > 1.5 * alone
    assert width["other"] == pytest.approx(width["half"], rel=0.05)
    assert found.savings["terms"].p50 > found.savings["half"].p50


def test_own_baselines_are_rivals_where_none_are_named():
    """The projection's baselines have bands whose middles are their projected savings."""
    got = _project(Counts(1_000, 112, 20))
    model = MoneyModel(got)
    for baseline in got.baselines:
        rival = rivals_of(got)[baseline.name]
        middle = float(model.saving(model.middle, rival))
        assert middle == pytest.approx(float(baseline.saving.mid), rel=1e-6), baseline.name
