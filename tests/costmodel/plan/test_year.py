"""Twelve months: the first is the month, growth and prices compound, cash adds up."""

import json

import pytest
from click.testing import CliRunner

from costmodel.commands.whatif import whatif
from costmodel.errors import BadProjection
from costmodel.inputs.taskfile import read_deployment
from costmodel.plan.year import Course, earned_back, year
from costmodel.whatif import project_deployment

COUNTS = {"evaluation.n": 2600, "evaluation.escalated": 290, "usage.input_tokens": 300}


@pytest.fixture
def projection(plain_task):
    """A task with 20,000 dollars paid once."""
    once = {"one_off.other_usd": 20_000, "traffic.requests_per_day": 1e6}
    return project_deployment(read_deployment(plain_task[1], changes={**COUNTS, **once}))


def test_the_first_month_is_the_projected_one(projection):
    """Nothing moves: twelve equal months, and cash is savings less what was paid once."""
    months = year(projection, Course())
    saving = float(projection.savings.mid)
    assert [one.saving for one in months] == pytest.approx([saving] * 12)
    assert months[-1].cash == pytest.approx(12 * saving - 20_000)
    assert months[-1].present_value == pytest.approx(months[-1].cash)
    back = earned_back(months)
    assert months[back - 1].cash >= 0
    assert all(one.cash < 0 for one in months[: back - 1])


def test_growth_and_prices_compound(projection):
    """Month 12 is another projection: 1.05^11 of the traffic at 0.98^11 of the price."""
    months = year(projection, Course(growth=0.05, teacher_price=-0.02))
    listed = float(projection.rail("teacher_only").usd_per_month)
    assert months[-1].teacher_only == pytest.approx(listed * (1.05 * 0.98) ** 11)
    assert months[-1].requests == pytest.approx(projection.requests_per_month * 1.05**11)


def test_money_later_is_worth_less(projection):
    """The present value lies below the cash by each month's discount."""
    months = year(projection, Course(discount_per_year=0.1))
    saving = float(projection.savings.mid)
    value = sum(saving / 1.1 ** (k / 12) for k in range(1, 13)) - 20_000
    assert months[-1].present_value == pytest.approx(value)


@pytest.mark.parametrize("wrong", [{"months": 0}, {"growth": -1}, {"teacher_price": float("nan")}])
def test_a_course_that_makes_no_sense_is_refused(wrong):
    """No months, all traffic gone, a price that is no number."""
    with pytest.raises(BadProjection):
        Course(**wrong)


def test_the_command_says_when_it_is_earned_back(plain_task, tmp_path):
    """One sentence for a manager, a table, a page, CSV and JSON."""
    words = ["year", "--task", str(plain_task[1]), "--growth", "0.1"]
    for field, value in {**COUNTS, "one_off.other_usd": 20_000}.items():
        words += ["--set", f"{field}={value}"]
    files = ["--html", str(tmp_path / "y.html"), "--csv", str(tmp_path / "y.csv")]
    got = json.loads(CliRunner().invoke(whatif, [*words, *files, "--json"]).stdout)
    assert len(got["months"]) == 12
    assert got["earned_back_in_month"] == 1
    assert "earned back in month 1" in got["sentence"]
    assert len((tmp_path / "y.csv").read_text().splitlines()) == 13
    assert "Cash since the beginning" in (tmp_path / "y.html").read_text()
