"""The command that answers what a month costs."""

import json

import pytest
from click.testing import CliRunner

from costmodel.commands.whatif import whatif
from costmodel.errors import CostModelError


def _run(*words: object):
    return CliRunner().invoke(whatif, [str(word) for word in words], catch_exceptions=False)


def test_terminal_shows_every_rail_every_baseline_and_the_unit_prices(task_file):
    """A reader sees the bill, signed savings, break-even, assumptions and prices."""
    shown = _run("--task", task_file).output
    for words in (
        "teacher only", "student only", "cascade (this)", "cheap decision API", "730 hours",
        "Break-even", "claude-sonnet-5-5", "aws:c7i.large", "9.97%", "−$",
    ):  # fmt: skip
        assert words in shown, words
    assert "costs MORE than: cheap decision API" in shown


def test_json_carries_the_projection_and_the_deployment(task_file):
    """JSON is complete and finite, so that a spreadsheet or a dashboard can read it."""
    got = json.loads(_run("--task", task_file, "--json").output)
    assert got["bundle"] == "abc123"
    assert got["projection"]["escalation"]["mid"] == pytest.approx(262 / 2629)
    assert got["projection"]["savings"]["low"] < got["projection"]["savings"]["mid"]
    assert got["deployment"]["traffic"]["requests_per_day"] == 10_000_000


def test_set_changes_the_answer_as_arithmetic_says(task_file):
    """A tenth of the traffic is a tenth of the teacher's bill."""
    ten = json.loads(_run("--task", task_file, "--json").output)
    one = json.loads(
        _run("--task", task_file, "--json", "--set", "traffic.requests_per_day=1e6").output
    )
    bills = [got["projection"]["rails"][0]["usd_per_month"] for got in (ten, one)]
    assert bills[0] == pytest.approx(10 * bills[1])


def test_markdown_is_tables(task_file):
    """Markdown can be pasted into a ticket."""
    shown = _run("--task", task_file, "--markdown").output
    assert "| rail | per 1,000 requests |" in shown


def test_html_is_one_page(task_file, tmp_path):
    """The page holds the figures and the same tables."""
    page = tmp_path / "reports" / "money.html"
    assert _run("--task", task_file, "--html", page).exit_code == 0
    html = page.read_text()
    assert html.count("<svg") == 8
    assert "earned back" in html
    assert "cheap decision API" in html


def test_threshold_moves_the_escalation(task_file):
    """A higher threshold escalates what the evaluation says it escalates."""
    got = json.loads(_run("--task", task_file, "--json", "--threshold", "0.95").output)
    assert got["projection"]["escalation"]["mid"] == pytest.approx(789 / 2629)


def test_a_budget_that_is_missed_is_said(task_file):
    """max_cost_ratio below the bill: the verdict says so."""
    got = json.loads(_run("--task", task_file, "--json", "--set", "max_cost_ratio=0.05").output)
    assert "misses the budget" in got["verdict"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("traffic.requests_per_day=100", "It does not pay"),
        ("traffic.requests_per_day=39100", "It may not pay"),
        ("decision_api=null", "It pays against every baseline"),
    ],
)
def test_verdicts(task_file, setting, words):
    """Few requests do not pay, a bare saving may not, and without a cheap rival it does."""
    got = json.loads(_run("--task", task_file, "--json", "--set", setting).output)
    assert words in got["verdict"]


def test_unknown_price_is_an_error_not_zero(task_file):
    """A model nobody knows stops the projection."""
    with pytest.raises(CostModelError, match="openai:gpt-nope"):
        _run("--task", task_file, "--set", "teacher.price.model=openai:gpt-nope")


def test_zero_is_a_threshold_that_was_given():
    """A threshold of 0 beside a scenario file is refused like any other, not dropped."""
    done = _run("some-scenario.yaml", "--threshold", 0)
    assert done.exit_code == 2
    assert "--threshold belongs to --task" in done.output
