"""Side by side: what nothing beats, lines that add up, the volume at which two cost the same."""

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from openpyxl import load_workbook

from costmodel.commands.whatif import whatif
from costmodel.errors import BadScenario
from costmodel.inputs.scenario import Scenario, vary
from costmodel.plan.compare import changed_fields, crossed, crossings, efficient, moved_lines
from costmodel.plan.study import studies
from costmodel.report.export import write_bills
from costmodel.uncertainty.draws import MoneyModel

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"
PLAIN = {
    "name": "api",
    "workload": {"per_second": 100, "tokens": {"mean": 40}},
    "days": 0.005,
    "student": {"price": {"usd_per_hour": 0.1, "requests_per_second": 1000}},
    "policy": {"escalation_rate": 0.1, "audit_rate": 0.01},
    "teacher": {"kind": "api", "prompt_tokens": 260, "output_tokens": {"mean": 10},
                "max_concurrency": 256, "price": {"model": "openai:gpt-4o"}},
}  # fmt: skip
OWN = {"name": "own", "teacher.price": {"usd_per_hour": 4, "requests_per_second": 50}}


def _base() -> Scenario:
    return Scenario.model_validate(PLAIN)


@pytest.fixture(scope="module")
def found():
    """An API, a machine of one's own, and a student that is sure of less."""
    base = _base()
    unsure = vary(base, {"name": "unsure", "policy.escalation_rate": 0.3})
    return studies([base, vary(base, OWN), unsure])


def test_moved_lines_add_up_to_the_difference_of_the_bills(found):
    """Every line that differs is named, the largest first, and nothing is left over."""
    moved = moved_lines(found[0], found[2])
    assert sum(one.by for one in moved) == pytest.approx(
        float(found[2].bill.cascade - found[0].bill.cascade)
    )
    assert moved[0].line == "teacher, escalations"
    fields = changed_fields(found[0].scenario, found[2].scenario)
    assert fields == [("policy.escalation_rate", "0.1", "0.3")]


def test_what_costs_more_and_is_no_better_is_beaten(found):
    """The same answers from the dearer teacher are beaten; more agreement for more money is not."""
    usd = [float(one.bill.cascade) for one in found]
    best = efficient(found)
    cheaper = 0 if usd[0] < usd[1] else 1
    assert best[cheaper]
    assert not best[1 - cheaper]
    assert best[2]


def test_own_machines_and_an_api_cross_where_their_bills_are_equal(found):
    """Below the crossing the API costs less, above it the machine; whole machines counted."""
    for one in crossings(found[:2]):
        assert one.cheaper_above == "own"
        for factor, cheaper in ((0.97, 0), (1.03, 1)):
            pair = []
            for study in found[:2]:
                model = MoneyModel(study.projection)
                days = one.requests_per_day * factor
                at = {**model.middle, "traffic": days / study.projection.requests_per_day}
                what = model.cascade if one.what == "cascade" else model.teacher_only
                pair.append(float(what(at)))
            assert pair[cheaper] == min(pair), one


def test_a_crossing_has_the_band_of_its_doubts():
    """It holds the projected point, and prices in doubt on one side make it wider."""
    wide = {"doubt.teacher_price": {"low": 0.6, "high": 1.5}}
    widths = []
    for doubt in ({}, wide):
        base = vary(_base(), doubt)
        for one in crossings(studies([base, vary(base, OWN)])):
            assert one.share > 0.9
            assert one.low <= one.requests_per_day <= one.high
            widths.append(one.high / one.low)
    assert widths[2] > widths[0] > 1.05
    assert widths[3] > 1.5 * widths[1]


def test_who_is_cheaper_at_any_traffic_crosses_nowhere():
    """The same teacher at half its price never crosses, and it is said who costs less."""
    base = _base()
    half = {"model": "openai:gpt-4o", "input_times": "0.5", "output_times": "0.5"}
    got = crossings(studies([base, vary(base, {"name": "half", "teacher.price": half})]))
    assert [(one.requests_per_day, one.cheaper_above) for one in got] == [(None, "half")] * 2
    assert [(one.low, one.high, one.share) for one in got] == [(None, None, 0.0)] * 2


def test_every_teacher_with_every_student(tmp_path):
    """Two by two over one scenario: each has its own price, latency, quality and prompt."""
    files = {
        "luna": "teacher: {price: {model: openai:gpt-6-luna}, latency_s: 0.2, prompt_tokens: 400}",
        "own": "teacher: {kind: hosted, price: {usd_per_hour: 4, requests_per_second: 9}}",
        "fast": "student: {fixed_s: 0.0001}",
        "sure": "policy: {escalation_rate: 0.02}\nquality: {kept_disagreement: 0.05}",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    paths = {name: tmp_path / f"{name}.yaml" for name in files}
    got = crossed([_base()], [paths["luna"], paths["own"]], [paths["fast"], paths["sure"]])
    assert [one.name for one in got] == [
        "api [luna + fast]", "api [luna + sure]", "api [own + fast]", "api [own + sure]",
    ]  # fmt: skip
    assert [one.teacher.kind for one in got] == ["api", "api", "hosted", "hosted"]
    assert got[1].teacher.prompt_tokens == 400
    assert (got[3].policy.escalation_rate, got[3].quality.kept_disagreement) == (0.02, 0.05)
    (tmp_path / "bad.yaml").write_text("[]")
    with pytest.raises(BadScenario, match="must be a mapping of sections"):
        crossed([_base()], [tmp_path / "bad.yaml"], [])


def test_the_command_writes_every_format(tmp_path):
    """Two shipped files: tables, page, CSV, workbook with formulas, JSON."""
    out = {name: tmp_path / f"c.{name}" for name in ("html", "csv", "xlsx")}
    shipped = [str(EXAMPLES / name) for name in ("ten-million-a-day.yaml", "burst.yaml")]
    words = ["compare", *shipped, "--set", "days=0.005", "--seeds", "1"]
    files = [word for name, path in out.items() for word in (f"--{name}", str(path))]
    done = CliRunner().invoke(whatif, [*words, *files, "--json"], catch_exceptions=False)
    got = json.loads(done.stdout)
    assert len(got["scenarios"]) == len(out["csv"].read_text().splitlines()) - 1 == 2
    assert {one["what"] for one in got["crossings"]} == {"cascade", "teacher only"}
    html = out["html"].read_text()
    assert "Which line moved" in html
    assert "Cost against agreement" in html
    assert len(load_workbook(out["xlsx"]).worksheets) == 2
    shown = CliRunner().invoke(whatif, [*words, "--markdown"]).stdout
    assert "Where each costs the same as" in shown
    assert "whatif compare" in CliRunner().invoke(whatif, shipped).output


def test_the_workbooks_formulas_give_the_bill(tmp_path, found):
    """Adding up what each formula names is the rail's month; a saving is a difference of cells."""
    write_bills(tmp_path / "b.xlsx", {"a [b]": found[0].bill.rails})
    sheet = load_workbook(tmp_path / "b.xlsx").worksheets[0]
    rails = iter(found[0].bill.rails)
    for cell in sheet["C"]:
        if str(cell.value).startswith("=SUM("):
            first, last = cell.value[5:-1].split(":")
            total = sum(Decimal(str(one[0].value)) for one in sheet[first:last])
            assert float(total) == pytest.approx(float(next(rails).usd_per_month))
    assert sum(str(cell.value).startswith("=C") for cell in sheet["C"]) == 2


def test_one_scenario_is_compared_with_nothing():
    """One sentence, exit 2."""
    done = CliRunner().invoke(whatif, ["compare", str(EXAMPLES / "burst.yaml")])
    assert done.exit_code == 2
    assert "compared with nothing" in done.output


def test_focus_columns_hold_the_bill(tmp_path):
    """Each line is a charge of the month in the names that FinOps tools read; they add up."""
    target = tmp_path / "focus.csv"
    words = [str(EXAMPLES / "burst.yaml"), "--set", "days=0.005", "--seeds", "1", "--json",
             "--focus", str(target), "--xlsx", str(tmp_path / "bill.xlsx"),
             "--html", str(tmp_path / "page.html")]  # fmt: skip
    got = json.loads(CliRunner().invoke(whatif, words, catch_exceptions=False).stdout)
    with target.open() as file:
        rows = list(csv.DictReader(file))
    cascade = next(rail for rail in got["rails"] if rail["name"] == "cascade")
    billed = sum(float(row["BilledCost"]) for row in rows)
    assert billed == pytest.approx(cascade["usd_per_month"])
    assert {row["BillingCurrency"] for row in rows} == {"USD"}
    assert all(row["ChargeDescription"].startswith("projected: ") for row in rows)
    assert (tmp_path / "bill.xlsx").exists()
