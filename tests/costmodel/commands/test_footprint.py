"""`raisehand whatif footprint`: figures where there are some, `unknown` where there are none."""

import json

import pytest
from click.testing import CliRunner

from costmodel.commands.footprint import footprint
from costmodel.errors import UnknownFootprint

SCENARIO = """
name: small
days: 0.002
workload: {{per_second: 50}}
policy: {{escalation_rate: 0.1, audit_rate: 0}}
student: {{price: {{machine: "aws:c7i.large", requests_per_second: 2000}}}}
teacher: {teacher}
"""
API = "{latency_s: 0.5, price: {usd_per_mtok_input: 1, usd_per_mtok_output: 2}}"


@pytest.fixture
def ask(tmp_path):
    """Ask about a scenario with some teacher."""

    def run(*arguments, teacher=API, check=True):
        path = tmp_path / "s.yaml"
        path.write_text(SCENARIO.format(teacher=teacher))
        return CliRunner().invoke(
            footprint, [str(path), "--seeds", "1", *arguments], catch_exceptions=not check
        )

    return run


def test_an_api_teacher_is_unknown_until_somebody_says(ask):
    """The student's machines have figures; a comparison needs a figure of the teacher's."""
    done = ask("--region", "eu-central-1")
    assert done.exit_code == 0
    assert "unknown" in done.stdout
    assert "--teacher-wh-per-call" in done.stdout
    found = json.loads(ask("--region", "eu-central-1", "--json").stdout)
    assert found["student"]["kwh"] > 0
    assert found["cascade_kwh"] is found["teacher_alone_kg_co2e"] is None


def test_a_figure_of_ones_own_compares_both(ask):
    """A tenth of the calls and the student's machines against all calls."""
    found = json.loads(ask("--kg-per-kwh", "0.5", "--teacher-wh-per-call", "0.3", "--json").stdout)
    calls = 50 * 730 * 3600
    assert found["teacher_alone_kwh"] == pytest.approx(calls * 0.3 / 1000, rel=0.02)
    assert found["teacher_asked_kwh"] == pytest.approx(found["teacher_alone_kwh"] * 0.1, rel=0.1)
    assert found["cascade_kg_co2e"] == pytest.approx(found["cascade_kwh"] * 0.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either --region or --kg-per-kwh"),
        (("--region", "eu-west-1", "--kg-per-kwh", "1"), "either --region or --kg-per-kwh"),
        (("--region", "eu-west-1", "--watts", "9:1"), "IDLE:BUSY"),
        (("--region", "eu-west-1", "--watts", "9"), "IDLE:BUSY"),
    ],
)
def test_what_is_asked_wrongly_is_told_what_to_do(ask, arguments, said):
    """One sentence, exit 2."""
    done = ask(*arguments)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_a_region_that_nobody_knows_is_an_error(ask):
    """Not the world's average in silence."""
    with pytest.raises(UnknownFootprint, match="no grid factor is known for mars-1"):
        ask("--region", "mars-1")
