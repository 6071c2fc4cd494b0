"""Spare machines for an availability: each state simulated, weighed by the binomial law."""

import json

import pytest
from click.testing import CliRunner
from scipy.stats import binom

from costmodel.commands.capacity import capacity
from costmodel.engine.run import simulate
from costmodel.errors import BadGoal
from costmodel.inputs.fleet import Interruptions, StudentFleet
from costmodel.inputs.scenario import Policy, Scenario
from costmodel.inputs.workload import Lengths, Workload
from costmodel.plan.availability import SpareSearch, weighed
from costmodel.plan.capacity import Goal, Plan, smallest_fleet
from costmodel.units import DAY_S


def scenario(**student):
    """40 requests a second that four machines of 12 a second carry; nothing escalates."""
    fleet = {"fixed_s": 1 / 12, "per_token_s": 0, "max_batch": 1, "queue_limit": 24} | student
    return Scenario(
        name="four",
        days=600 / DAY_S,
        workload=Workload(per_second=40, tokens=Lengths(mean=1)),
        student=StudentFleet(**fleet),
        policy=Policy(escalation_rate=0, audit_rate=0),
    )


def test_all_or_nothing_is_the_binomial_law():
    """Where N carry everything and fewer nothing, the answered share is P(N or more are there)."""
    states = {n: (float(n >= 4), float(n >= 4)) for n in range(7)}
    for machines in (4, 5, 6):
        found = weighed(states, machines, 0.97)
        assert found == pytest.approx((binom.sf(3, machines, 0.97),) * 2)


def test_the_weighed_states_are_what_a_run_with_failing_machines_shows():
    """The same share is answered where machines really go and are back, within a point."""
    often = Interruptions(hours_between=0.25, back_after_s=100)
    goal = Goal(p99_s=2.0)
    states = dict.fromkeys(range(6), (0.0, 0.0))
    for n in range(1, 6):
        run = simulate(scenario(replicas=n), 1)
        states[n] = 1 - run.refused_rate - run.degraded_rate, run.slo(goal.p99_s)
    said = weighed(states, 5, often.available)
    long = scenario(replicas=5, interruptions=often).model_copy(update={"days": 1.0})
    shown = simulate(long, 1)
    assert 1 - shown.refused_rate == pytest.approx(said[0], abs=0.01)
    assert shown.slo(goal.p99_s) == pytest.approx(said[1], abs=0.01)


def test_spares_are_added_until_the_availability_is_kept():
    """More nines need more machines; the last number tried is the first that is enough."""
    goal = Goal(p99_s=1.0)
    plan = smallest_fleet(scenario(), goal, seeds=range(2))
    often = Interruptions(hours_between=10, back_after_s=600)
    spares = []
    for availability in (0.9, 0.999, 0.999_99):
        found = SpareSearch(plan, goal, often, availability, range(2)).find()
        assert [one.enough for one in found] == [False] * (len(found) - 1) + [True]
        assert [one.all_there for one in found] == sorted(one.all_there for one in found)
        spares.append(found[-1].spare)
    assert spares == sorted(spares)
    assert spares[0] < spares[-1]


def test_what_no_machine_mends_is_said():
    """A queue that is too short refuses whoever is there: spares are not the answer."""
    goal = Goal(p99_s=1.0)
    plan = Plan(scenario(replicas=4, queue_limit=1), 4, 1, ())
    with pytest.raises(BadGoal, match="it is not machines that are missing"):
        SpareSearch(
            plan, goal, Interruptions(hours_between=0.01, back_after_s=600), 0.999, range(1)
        ).find()


def test_the_command_prices_each_number_of_spares(base_file, tmp_path):
    """Dollars, N+k and both shares in JSON and on a page; without a rate of failures exit 2."""
    page = tmp_path / "capacity.html"
    asked = [str(base_file), "--p99-ms", "3000", "--set", "days=0.01", "--availability", "0.999"]
    done = CliRunner().invoke(
        capacity, [*asked, "--hours-between", "24", "--html", str(page), "--json"]
    )
    assert done.exit_code == 0, done.output
    spares = json.loads(done.output)["spares"]
    assert spares[-1]["enough"]
    assert spares[-1]["answered"] >= 0.999
    dollars = [one["usd_per_month"] for one in spares]
    assert dollars == sorted(dollars)
    assert "N + k" in page.read_text()
    done = CliRunner().invoke(capacity, asked)
    assert "give --hours-between" in str(done.exception)
    assert done.exception.exit_code == 2
