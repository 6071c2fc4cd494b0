"""One scenario, answered: simulated and closed form agree, sweeps compare, reports are whole."""

import csv
import io
import json
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from costmodel.commands.whatif import whatif
from costmodel.errors import CostModelError
from costmodel.inputs.scenario import Scenario, load
from costmodel.plan.spread import spread
from costmodel.plan.study import Study, chosen_point, compare, study
from costmodel.report.export import csv_text
from costmodel.report.scenario import service, study_json, study_page, study_tables

EXAMPLE = Path(__file__).parents[3] / "examples" / "scenarios" / "ten-million-a-day.yaml"


@pytest.fixture(scope="module")
def example() -> Study:
    """The shipped example, a twentieth of a day of it."""
    return study(load(EXAMPLE, {"days": 0.05}), seed=5)


def test_simulated_month_agrees_with_the_closed_form_below_every_limit(example):
    """No queue is full and no call is lost: means and simulation say the same within 3 %."""
    for rail in example.bill.rails:
        closed = float(example.projection.rail(rail.name).usd_per_month)
        assert float(rail.usd_per_month) == pytest.approx(closed, rel=0.03), rail.name


def test_length_correlation_makes_escalated_requests_dearer(example):
    """Long requests escalate more often here, so that their calls cost more than the mean call."""
    assert example.projection.escalated_cost_factor > 1.03
    assert example.result.token_weighted_escalation > 1.2 * example.result.escalation_rate


def test_savings_are_signed_and_ordered(example):
    """Every alternative has P10 ≤ saving ≤ P90; cheap models win here, and it is said."""
    for one in example.savings:
        assert one.low <= one.mid <= one.high
    signs = {one.against: one.mid > 0 for one in example.savings}
    assert signs["teacher"]
    assert not signs["openai gpt-5-nano"]
    assert "costs MORE than" in example.verdict.sentence


def test_chosen_point_lies_on_the_curve(example):
    """What was simulated at threshold 0.8 is what the curve says of 0.8."""
    chosen = chosen_point(example)
    on_curve = next(p for p in example.pareto if p.threshold == 0.8)
    assert chosen.threshold == 0.8
    assert chosen.agreement == pytest.approx(on_curve.agreement, abs=0.005)
    assert chosen.cost_ratio == pytest.approx(on_curve.cost_ratio, rel=0.05)


def test_pareto_trades_cost_for_agreement(example):
    """A higher threshold never escalates less, agrees less or costs less."""
    points = example.pareto
    for low, high in pairwise(points):
        assert high.escalation_rate >= low.escalation_rate
        assert high.agreement >= low.agreement
        assert high.cost_ratio >= low.cost_ratio


def test_sweep_compares_on_the_same_traffic():
    """Three thresholds: the same requests, more escalation, a larger bill."""
    axes = {"policy.threshold": [0.7, 0.8, 0.9]}
    studies = compare(load(EXAMPLE, {"days": 0.02}), axes, seed=1)
    assert len({one.result.counts["requests"] for one in studies}) == 1
    bills = [one.bill.cascade for one in studies]
    assert bills == sorted(bills)
    rows = list(csv.DictReader(io.StringIO(csv_text(studies))))
    assert [
        row["scenario"].endswith(f"={t}]") for row, t in zip(rows, (0.7, 0.8, 0.9), strict=True)
    ]
    assert float(rows[0]["cascade_usd_per_month"]) == pytest.approx(float(bills[0]), abs=0.01)


def test_teacher_limits_show_as_the_difference_to_the_average():
    """Eight slots for 18 calls a second and no queue: answers degrade, and cost nothing."""
    crowded = {"policy.threshold": 0.99, "teacher.max_concurrency": 8, "teacher.pending_limit": 8}
    got = study(load(EXAMPLE, {"days": 0.02, **crowded}))
    assert got.result.degraded_rate > 0.1
    closed = float(got.projection.rail("cascade").usd_per_month)
    assert float(got.bill.cascade) < 0.9 * closed


def test_report_holds_every_figure_and_table(example):
    """The page has the six plots and every table of the terminal."""
    html = study_page([example]).html()
    assert html.count("<svg") == 10
    for table in study_tables(example):
        assert table.caption.split(" (")[0].replace("'", "&#39;")[:30] in html
        assert {len(row) for row in table.rows} <= {len(table.headers)}
    assert "730 hours" in html


def test_json_is_finite(example):
    """Everything survives strict JSON."""
    got = json.loads(json.dumps(study_json(example), allow_nan=False))
    assert got["figures"]["scenario"] == "ten million a day"
    assert got["uncertain"]["tornado"]


def test_scenario_without_a_curve_has_no_pareto():
    """Two plain rates are enough for a bill; there is no trade-off to draw."""
    scenario = Scenario.model_validate(
        {
            "name": "rates only",
            "workload": {"per_second": 50},
            "days": 0.005,
            "student": {"price": {"usd_per_hour": 1, "requests_per_second": 1000}},
            "policy": {"escalation_rate": 0.1},
            "teacher": {"kind": "api", "price": {"model": "openai:gpt-4o"}},
        }
    )
    got = study(scenario)
    assert got.pareto == ()
    assert "Cost against quality" not in study_page([got]).html()


def _run(*words: object):
    return CliRunner().invoke(whatif, [str(EXAMPLE), *map(str, words)], catch_exceptions=False)


def test_command_writes_every_format(tmp_path):
    """Terminal, Markdown, JSON, CSV and HTML from one scenario file."""
    quick = ("--set", "days=0.005")
    html, table = tmp_path / "a.html", tmp_path / "a.csv"
    shown = _run(*quick, "--html", html, "--csv", table).output
    assert "cascade (this)" in shown
    assert "What would have to be true" in shown
    assert html.read_text().startswith("<!DOCTYPE html>")
    assert table.read_text().startswith("scenario,teacher_only_usd_per_month")
    assert "| against |" in _run(*quick, "--markdown").output
    assert json.loads(_run(*quick, "--json").output)["figures"]["seed"] == 0
    swept = json.loads(_run(*quick, "--sweep", "student.replicas=1,2", "--json").output)
    assert len(swept) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--set", "workload.per_day=-1"), "workload.per_day"),
        (("--set", "teacher.price.model=openai:nope"), "openai:nope"),
        (("--set", "teacher.price.currency=EUR"), "teacher.price.currency"),
        (("--set", "student.price=null"), "student.price is missing"),
        (("--set", "policy.p99_ms=0"), "policy.p99_ms"),
        (("--sweep", "student.replicas"), "is not FIELD=A,B"),
        (("--sweep", "student.replicas=0"), "student.replicas"),
    ],
)
def test_bad_scenarios_are_one_sentence(words, expected):
    """The field and what is wrong with it, in one line."""
    with pytest.raises(CostModelError) as caught:
        _run(*words)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_trace_is_one_sentence(tmp_path):
    """A trace without rows cannot be replayed."""
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    changes = ("--set", f"workload={{arrivals: replay, trace: {{path: {trace}}}}}")
    with pytest.raises(CostModelError, match="0 rows"):
        _run(*changes)


@pytest.mark.parametrize(
    "words", [("--serve",), ("--threshold", "0.5"), ("--from-ledger", "x"), ("--task", "t.yaml")]
)
def test_options_of_the_other_form_are_refused(words):
    """What belongs to a task is not silently ignored for a scenario."""
    assert _run(*words).exit_code == 2


def test_one_teacher_has_one_band():
    """A teacher without cheaper terms is itself at its best terms: the same bill, the same band."""
    path = EXAMPLE.with_name("burst.yaml")
    listed, best = study(load(path, {"days": 0.01})).savings[:2]
    assert (best.low, best.mid, best.high) == (listed.low, listed.mid, listed.high)
    assert best.usd_per_month == listed.usd_per_month
    assert best.low <= best.mid <= best.high
    assert best.low < best.high


@pytest.mark.parametrize("name", ["burst", "ten-million-a-day"])
def test_several_seeds_are_the_mean_with_their_spread_in_the_band(name):
    """Each line is the mean of the seeds' lines; chance in the runs widens every band."""
    scenario = load(EXAMPLE.with_name(f"{name}.yaml"), {"days": 0.02})
    alone = [study(scenario, seed=seed) for seed in (7, 8, 9)]
    got = study(scenario, seed=7, seeds=3)
    for rail in got.bill.rails:
        same = [next(r for r in one.bill.rails if r.name == rail.name) for one in alone]
        mean = sum(float(r.usd_per_month) for r in same) / 3
        assert float(rail.usd_per_month) == pytest.approx(mean, rel=1e-9)
        assert sum(line.usd for line in rail.lines) == rail.usd_per_month
    over = spread(got)
    seen = [one.result.escalation_rate for one in alone]
    assert over["escalation_rate"] == (pytest.approx(sum(seen) / 3), min(seen), max(seen))
    assert got._noise("teacher") > 0
    assert alone[0]._noise("teacher") == 0
    # Rented machines cost the same with every seed, calls do not.
    assert len({one.bill.cascade for one in alone}) == (1 if name == "burst" else 3)


def test_the_worst_seed_is_judged(monkeypatch):
    """A scenario that one seed of three does not answer does not answer."""
    scenario = load(EXAMPLE.with_name("burst.yaml"), {"days": 0.02})
    got = study(scenario, seeds=3)
    assert got.verdict.answers
    monkeypatch.setattr(
        type(got.results[1]), "refused_rate", property(lambda run: 0.5 * (run.seed == 1))
    )
    assert not study(scenario, seeds=3).verdict.answers


def test_the_command_runs_three_seeds_and_says_so():
    """Three by default, as a table and in JSON; one alone says that its chances are in no band."""
    words = [str(EXAMPLE.with_name("burst.yaml")), "--set", "days=0.01"]
    shown = CliRunner().invoke(whatif, [*words, "--markdown"]).stdout
    assert "Over 3 seeds" in shown
    got = json.loads(CliRunner().invoke(whatif, [*words, "--json"]).stdout)
    assert got["figures"]["seeds"] == 3
    assert got["spread"]["p99_s"]["lowest"] <= got["spread"]["p99_s"]["mean"]
    alone = CliRunner().invoke(whatif, [*words, "--seeds", "1", "--markdown"]).stdout
    assert "seed 0 alone: its chances are in no band" in alone


def test_a_hosted_teacher_says_when_its_first_token_comes():
    """First token and token gap stand in the table and in JSON; an API's stages are empty."""
    one = study(load(EXAMPLE.with_name("burst.yaml"), {"days": 0.01}))
    rows = dict(service(one).rows)
    assert "ms" in rows["p50 / p99, first token of the teacher"]
    stages = study_json(one)["stages_s"]
    assert 0 < stages["token_gap"]["p50_s"] < stages["first_token"]["p50_s"]
    api = study(load(EXAMPLE, {"days": 0.01}))
    assert "p50 / p99, between its tokens" not in dict(service(api).rows)
    assert study_json(api)["stages_s"]["first_token"]["n"] == 0
