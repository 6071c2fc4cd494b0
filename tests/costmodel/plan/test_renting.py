"""Machines that follow load or are taken away, beside those that the file keeps."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from costmodel.commands.whatif import whatif
from costmodel.errors import BadScenario
from costmodel.inputs.scenario import load
from costmodel.plan.renting import ways

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"


def test_each_way_is_simulated_and_priced(tmp_path):
    """Following load pays for fewer engines; spot is cheap and loses what the machines computed."""
    page = tmp_path / "machines.html"
    done = CliRunner().invoke(
        whatif,
        ["machines", str(EXAMPLES / "burst.yaml"), "--set", "days=0.02", "--seeds", "1", "--json",
         "--cold-start", "300", "--hours-between", "0.1", "--spot-price", "0.4",
         "--html", str(page)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    kept, follows, spot = json.loads(done.output)
    usd = [one["cascade_usd_per_month"] for one in (kept, follows, spot)]
    assert usd[1] < usd[0]
    assert usd[2] < 0.5 * usd[0]
    assert follows["teacher_machines"] < kept["teacher_machines"] == 2
    assert spot["student_machines"] < 2
    assert spot["refused_rate"] > kept["refused_rate"] == 0
    assert "cold start 300 s" in page.read_text()


def test_a_cold_start_is_of_engines():
    """A teacher behind an API has none: one sentence says what to do."""
    month = load(EXAMPLES / "ten-million-a-day.yaml")
    with pytest.raises(BadScenario, match=r"give --set teacher\.kind=hosted"):
        ways(month, cold_starts_s=[60])
    assert [one.name for one in ways(month, hours_between=[6])][1].startswith("ten million a day [")
