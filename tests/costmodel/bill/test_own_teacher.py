"""A teacher rented by the hour is whole machines, at the peak, idle or not, on every rail."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from costmodel.bill.own_teacher import own_price, saturated_rate, teacher_fleet
from costmodel.bill.simulated import month_bill, prices_of
from costmodel.commands.whatif import whatif
from costmodel.engine.run import simulate
from costmodel.inputs.scenario import HostedTeacher, Scenario, load, vary
from costmodel.inputs.taskfile import read_deployment
from costmodel.money.pricebook import price_of
from costmodel.plan.study import study
from costmodel.uncertainty.draws import MoneyModel
from costmodel.whatif import project_deployment

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"
GUESS = {"evaluation.n": 2600, "evaluation.escalated": 290, "evaluation.disagreements": 40}
GPU = {"teacher.price.usd_per_hour": 4, "teacher.price.requests_per_second": 50}
MACHINE = Decimal(4 * 730)


def _project(path, **changes):
    return project_deployment(read_deployment(path, changes={**GUESS, **GPU, **changes}))


def _usd(projection, rail):
    return projection.rail(rail).usd_per_month


def _teacher_usd(rail):
    return sum(line.usd for line in rail.lines if line.name.startswith("teacher machines"))


def test_a_task_pays_whole_machines_at_the_peak(plain_task):
    """115.7 a second, 3.3 times at the peak, 70 % of 50: 11 machines, and 2 for what is asked."""
    got = _project(plain_task[1])
    assert _usd(got, "teacher_only") == 11 * MACHINE
    assert _teacher_usd(got.rail("cascade")) == 2 * MACHINE
    assert (got.teacher_machines.machines, got.asked_machines.machines) == (11, 2)
    assert got.teacher_machines.utilisation == pytest.approx(115.74 / 550, rel=1e-3)
    assert got.rail("teacher_only").lines[0].name == "teacher machines, busy"


def test_little_traffic_pays_a_machine_on_both_sides(plain_task):
    """Somebody must be there to be asked: one machine each, or as many as are kept."""
    got = _project(plain_task[1], **{"traffic.requests_per_day": 1e5})
    assert _usd(got, "teacher_only") == _teacher_usd(got.rail("cascade")) == MACHINE
    assert got.savings.mid < 0
    assert got.break_even.escalation_rate is None
    kept = _project(plain_task[1], **{"traffic.requests_per_day": 1e5, "teacher.min_machines": 3})
    assert _usd(kept, "teacher_only") == 3 * MACHINE


def test_longer_escalations_need_more_of_ones_own_machines(plain_task):
    """Machine time grows with what escalates, as tokens do."""
    longer = {"usage.input_tokens": 300, "usage.escalated_factor": 3}
    assert _project(plain_task[1], **longer).asked_machines.machines == 4


def test_the_limits_of_a_rented_teacher_are_where_the_saving_changes_its_sign(plain_task):
    """Both bills are stairs: the least traffic that pays, and the escalation rate that does not."""
    got = _project(plain_task[1]).break_even
    least, limit = got.minimum_requests_per_day, got.escalation_rate
    for daily, pays in ((least * 0.999, False), (least * 1.001, True)):
        there = _project(plain_task[1], **{"traffic.requests_per_day": daily})
        assert (there.savings.mid > 0) == pays
    for rate, pays in ((limit - 0.001, True), (limit + 0.001, False)):
        rows = {"evaluation.n": 100_000, "evaluation.escalated": round(rate * 100_000)}
        assert (_project(plain_task[1], **rows).savings.mid > 0) == pays


def test_machines_grow_with_the_drawn_traffic(plain_task):
    """The Monte Carlo rents for the traffic and the lengths that it draws."""
    got = _project(plain_task[1])
    model = MoneyModel(got)
    traffic = np.array([0.5, 1.0, 2.0])
    x = {**model.middle, "traffic": traffic}
    assert model.teacher_only(x) == pytest.approx([6 * 2920, 11 * 2920, 22 * 2920])
    assert model.asked(x) == pytest.approx([2920, 2 * 2920, 3 * 2920])
    assert model.asked({**model.middle, "lengths": 2.0}) == pytest.approx(3 * 2920)
    assert model.teacher_only(model.middle) == pytest.approx(float(_usd(got, "teacher_only")))
    assert model.cascade(model.middle) == pytest.approx(float(_usd(got, "cascade")))


def test_another_model_on_machines_is_whole_machines_too(plain_task, base_file):
    """The cheap alternative is paid on the same terms, in a task and in a scenario."""
    got = _project(plain_task[1], decision_api={"usd_per_hour": 1, "requests_per_second": 100})
    assert got.baselines[-1].usd_per_month == 6 * 730
    other = {"own": {"usd_per_hour": 1, "requests_per_second": 100}}
    scenario = load(base_file, {"baselines": other, "workload.per_day": 1e5, "days": 0.5})
    bill = month_bill(simulate(scenario), prices_of(scenario))
    assert bill.baselines["own"] == 730


def test_a_scenario_with_an_api_by_the_hour_pays_whole_machines(base_file):
    """100,000 requests a day on a machine of 50 a second cost a machine, not $67."""
    price = {"usd_per_hour": 4, "requests_per_second": 50}
    base = load(base_file, {"days": 0.5, "workload.per_day": 100_000, "teacher.price": price})
    bill = month_bill(simulate(base), prices_of(base))
    assert bill.teacher_only == MACHINE
    assert _teacher_usd(bill.rails[2]) == MACHINE
    busy = vary(base, {"workload.per_day": 1e7, "days": 0.02, "workload.bursts":
                       {"factor": 3, "share": 0.05, "mean_s": 60}})  # fmt: skip
    for seed in range(3):
        bill = month_bill(simulate(busy, seed), prices_of(busy))
        # From the file's bursts, not from one seed's busiest window.
        assert bill.teacher_only == 10 * MACHINE
        assert _teacher_usd(bill.rails[2]) == 2 * MACHINE


def test_peaks_follow_shape_bursts_and_hard_spells():
    """What the file says of its busiest moment sizes the machines; the file may say more."""
    burst = load(EXAMPLES / "burst.yaml", {"days": 0.02})
    fleet = teacher_fleet(burst, simulate(burst))
    assert fleet.everything.peak_to_mean == pytest.approx(3)
    assert fleet.asked.peak_to_mean == pytest.approx(5)
    assert fleet.asked.min_machines == 2
    said = vary(burst, {"teacher.machines": {"peak_to_mean": 2, "min_machines": 4}})
    fleet = teacher_fleet(said, simulate(said))
    assert (fleet.everything.peak_to_mean, fleet.asked.min_machines) == (2, 4)
    day = load(EXAMPLES / "ten-million-a-day.yaml", {"days": 0.02})
    assert teacher_fleet(day, simulate(day)).everything.peak_to_mean == pytest.approx(1.65, abs=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"output_tokens": {"mean": 50}, "max_running": 32},
        {"step_per_context_token_s": 1e-6, "output_tokens": {"mean": 20}},
        {"prompt_tokens": 1000, "kv_tokens": 30_000, "output_tokens": {"mean": 10}},
    ],
)
def test_one_replica_carries_what_its_steps_carry(changes):
    """The closed form of a saturated engine beside the simulated one, within 15 %."""
    teacher = {
        "kind": "hosted", "step_s": 0.012, "step_per_request_s": 0.0001, "timeout_s": 1e6,
        "step_per_prefill_token_s": 0.00003, "prompt_tokens": 260, "output_tokens": {"mean": 4},
        "max_running": 64, "asking": None,
        "price": {"usd_per_hour": 1, "requests_per_second": 1}, **changes,
        "pending_limit": 200,  # full all the time, and little left to drain after the horizon
    }  # fmt: skip
    scenario = Scenario.model_validate(
        {
            "name": "full", "workload": {"per_second": 300, "tokens": {"mean": 40}}, "days": 0.002,
            "student": {"fixed_s": 0, "per_token_s": 0, "queue_limit": 2**20},
            "policy": {"escalation_rate": 1, "audit_rate": 0, "deadline_s": 1e6},
            "teacher": teacher,
        }
    )  # fmt: skip
    run = simulate(scenario)
    seen = run.counts["teacher"] / run.teacher_busy_s
    assert isinstance(scenario.teacher, HostedTeacher)
    read = 40 + scenario.teacher.prompt_tokens
    rate = saturated_rate(scenario.teacher, read, scenario.teacher.output_tokens.mean)
    assert rate == pytest.approx(seen, rel=0.15)


def test_the_baseline_is_priced_by_the_engine_that_is_simulated():
    """A stated throughput 20 % off the step model's is said, and the step model's is priced."""
    burst = load(EXAMPLES / "burst.yaml", {"days": 0.05})
    assert prices_of(burst).warnings == ()
    wrong = vary(burst, {"teacher.price.requests_per_second": 40})
    price, warnings = own_price(wrong, price_of(wrong.teacher.price, at=wrong.start))
    assert float(price.requests_per_second) == pytest.approx(99.5, rel=0.01)
    assert "says 40 requests a second" in warnings[0]
    bills = [month_bill(simulate(one), prices_of(one)) for one in (burst, wrong)]
    assert bills[0].teacher_only == bills[1].teacher_only
    done = CliRunner().invoke(
        whatif,
        [str(EXAMPLES / "burst.yaml"), "--set", "days=0.02", "--json",
         "--set", "teacher.price.requests_per_second=40"],
    )  # fmt: skip
    assert "the step model carries" in json.loads(done.output)["warnings"][0]


@pytest.mark.parametrize(("per_second", "pays"), [(50, False), (5_000, True)])
def test_closed_form_and_simulation_rent_the_same_machines(per_second, pays):
    """The two bills agree, and an escalation is no longer free: more of them need more machines."""
    teacher = {
        "kind": "hosted", "replicas": 2, "prompt_tokens": 20.0, "step_s": 0.001, "asking": None,
        "price": {"usd_per_hour": 4, "requests_per_second": 40},
    }  # fmt: skip
    scenario = Scenario.model_validate(
        {
            "name": "hosted",
            "workload": {"per_second": per_second},
            "days": 0.001,
            "student": {"price": {"usd_per_hour": 1, "requests_per_second": 1000}},
            "policy": {"escalation_rate": 0.01},
            "teacher": teacher,
        }
    )
    got = study(scenario)
    for rail in got.bill.rails:
        closed = float(got.projection.rail(rail.name).usd_per_month)
        assert float(rail.usd_per_month) == pytest.approx(closed, rel=1e-6), rail.name
    assert (got.savings[0].mid > 0) == pays
    assert (got.projection.break_even.months is not None) == pays
    if pays:
        assert 0.5 < got.projection.break_even.escalation_rate < 1
