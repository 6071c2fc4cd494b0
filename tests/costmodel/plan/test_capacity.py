"""The smallest fleet is smallest, meets its goal, and impossible goals say why."""

import pytest

from costmodel.engine.run import simulate_many
from costmodel.errors import BadGoal, BadScenario
from costmodel.inputs.fleet import Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, HostedTeacher, Policy, Quality, Scenario, vary
from costmodel.inputs.workload import Workload
from costmodel.money.pricing import PriceSpec
from costmodel.plan.capacity import Goal, fleet_usd, pareto, smallest_fleet
from costmodel.queueing.closed_forms import servers_needed

CURVE = ((0.5, 0.98, 0.06), (0.8, 0.9, 0.03), (0.95, 0.7, 0.01))


def scenario(**fields):
    """A quarter of an hour at 100 requests a second, 10 % escalated."""
    base = {
        "name": "plan",
        "workload": Workload(per_second=100),
        "days": 1 / 96,
        "student": StudentFleet(fixed_s=0.025, per_token_s=0, max_batch=1),
        "policy": Policy(escalation_rate=0.1, audit_rate=0),
        "teacher": ApiTeacher(latency_s=0.5, noise=Noise()),
    }
    return Scenario(**(base | fields))


def test_one_fewer_of_either_fails():
    """The plan meets the goal; one replica or one slot fewer does not."""
    goal = Goal(p99_s=0.7)
    plan = smallest_fleet(scenario(), goal)
    assert goal.met(plan.runs)
    units = "teacher.max_concurrency"
    fewer = [{"student.replicas": plan.replicas - 1}, {units: plan.teacher_units - 1}]
    for change in fewer:
        assert not goal.met(simulate_many(vary(plan.scenario, change), range(3)).results)


def test_erlang_would_buy_the_same_fleet():
    """Exponential service: as many replicas as Erlang's wait formula asks for, give or take 1."""
    student = StudentFleet(
        fixed_s=0.04, per_token_s=0, max_batch=1, noise=Noise(kind="exponential")
    )
    calm = Policy(escalation_rate=0, audit_rate=0)
    plan = smallest_fleet(scenario(student=student, policy=calm, days=0.02), Goal(p99_s=0.2))
    erlang = servers_needed(100, 25, 0.2, 0.99)
    assert abs(plan.replicas - erlang) <= 1


def test_a_hosted_teacher_is_counted_in_replicas():
    """Slow steps need more engines than fast ones."""
    needed = []
    for step in (0.05, 0.2):
        teacher = HostedTeacher(step_s=step, max_running=1)
        needed.append(smallest_fleet(scenario(teacher=teacher), Goal(p99_s=2.0)).teacher_units)
    assert needed[1] > needed[0]


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (Goal(p99_s=0.1), r"only 90\.\d+% of arrivals are answered within 0\.1 s"),
        (Goal(p99_s=5, agreement=0.999), "agreement is 0.98.*raise the threshold"),
    ],
)
def test_an_impossible_goal_says_what_is_in_the_way(goal, words):
    """No fleet makes the teacher faster or the student more right."""
    with pytest.raises(BadGoal, match=words):
        smallest_fleet(scenario(days=0.001), goal, seeds=(0,))


@pytest.mark.parametrize("p99_s", [0.0, -1.0, float("nan")])
def test_a_goal_that_makes_no_sense_is_refused(p99_s):
    """A p99 of zero, less, or not a number."""
    with pytest.raises(BadScenario, match="must be above 0"):
        Goal(p99_s=p99_s)


def test_pareto_marks_places_nothing_beats():
    """A higher threshold is dearer and more right: both efficient; wasted replicas are not."""
    priced = scenario(
        quality=Quality(risk_coverage=CURVE),
        policy=Policy(threshold=0.8),
        student=StudentFleet(
            fixed_s=0.025, per_token_s=0, max_batch=1,
            price=PriceSpec(usd_per_hour=1, requests_per_second=40),
        ),
        teacher=ApiTeacher(
            latency_s=0.5, noise=Noise(), max_concurrency=200,
            price=PriceSpec(usd_per_mtok_input=1, usd_per_mtok_output=1),
        ),
    )  # fmt: skip
    points = pareto(priced, thresholds=(0.5, 0.95), replicas=(2, 6, 60))
    usd = {(p.scenario.policy.threshold, p.scenario.student.replicas): p for p in points}
    assert usd[0.95, 6].agreement > usd[0.5, 6].agreement
    assert usd[0.95, 6].usd_per_month > usd[0.5, 6].usd_per_month
    assert usd[0.5, 60].usd_per_month > usd[0.5, 6].usd_per_month
    assert {key for key, point in usd.items() if point.efficient} >= {(0.5, 6), (0.95, 6)}
    assert all(
        p.usd_per_month is None
        for p in pareto(scenario(quality=Quality(risk_coverage=CURVE)), (0.8,))
    )


def test_a_plan_says_what_it_costs_and_what_a_spare_costs():
    """Dollars of the fleet found; N + 1 is one student machine more, and costs that much more."""
    priced = {
        "student.price": {"usd_per_hour": 1, "requests_per_second": 100},
        "teacher.price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
    }
    plan = smallest_fleet(vary(scenario(days=0.001), priced), Goal(p99_s=5), seeds=(0,))
    assert plan.spare.student.replicas == plan.replicas + 1
    spared = fleet_usd(simulate_many(plan.spare, (0,)).results)
    assert spared == pytest.approx(plan.usd_per_month + 730, rel=0.02)
    assert smallest_fleet(scenario(days=0.001), Goal(p99_s=5), seeds=(0,)).usd_per_month is None
