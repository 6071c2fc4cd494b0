"""`raisehand capacity` prints a plan, or one sentence why there is none."""

import json

import pytest
from click.testing import CliRunner

from costmodel.commands.capacity import capacity
from costmodel.errors import BadGoal

SCENARIO = """
name: small
days: 0.002
workload: {per_second: 50}
policy: {escalation_rate: 0.1, audit_rate: 0}
student: {fixed_s: 0.03, per_token_s: 0, max_batch: 1}
teacher: {latency_s: 0.5, noise: {kind: constant}}
"""


@pytest.fixture
def path(tmp_path):
    """A scenario file."""
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO)
    return str(path)


def test_prints_a_plan(path):
    """Words and JSON name the same fleet; more traffic needs more of it."""
    runner = CliRunner()
    words = runner.invoke(capacity, [path, "--p99-ms", "900"], catch_exceptions=False)
    assert words.exit_code == 0
    told = runner.invoke(capacity, [path, "--p99-ms", "900", "--json"], catch_exceptions=False)
    plan = json.loads(told.stdout)
    assert f"{plan['student_replicas']} student replicas" in words.stdout
    assert plan["p99_ms"] <= 900
    more = runner.invoke(
        capacity, [path, "--p99-ms", "900", "--json", "--set", "workload.per_second=200"]
    )
    assert json.loads(more.stdout)["student_replicas"] > plan["student_replicas"]


def test_an_impossible_goal_is_an_error_of_its_own(path):
    """The teacher alone takes longer: the error says so and has an exit code of its own."""
    with pytest.raises(BadGoal, match=r"the teacher alone takes 0\.5") as fault:
        CliRunner().invoke(capacity, [path, "--p99-ms", "100"], catch_exceptions=False)
    assert fault.value.exit_code == 3
