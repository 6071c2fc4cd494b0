"""One `--set` for tasks and scenarios: every form of a price onto every other, halves, kinds."""

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from costmodel.commands.capacity import capacity
from costmodel.commands.whatif import whatif
from costmodel.errors import BadProjection, BadScenario
from costmodel.inputs.changes import changed, parse_axes
from costmodel.inputs.deployment import with_changes
from costmodel.inputs.scenario import load, vary
from costmodel.inputs.taskfile import read_deployment
from costmodel.money.pricing import PriceSpec

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"
FORMS = {
    "model": {"model": "openai:gpt-4o"},
    "tokens": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 2},
    "machine": {"machine": "aws:g6.xlarge", "requests_per_second": 5},
    "hour": {"usd_per_hour": 3, "requests_per_second": 5},
}
COUNTS = {"evaluation.n": 1000, "evaluation.escalated": 80}


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(FORMS, 2)))
@pytest.mark.parametrize("where", ["teacher.price", "student.price", "baselines.other"])
def test_every_form_of_a_price_replaces_every_other_in_a_scenario(old, new, where):
    """The new form's fields are given one by one, as on a command line; nothing else is left."""
    base = vary(load(EXAMPLES / "burst.yaml"), {where: FORMS[old]})
    got = vary(base, {f"{where}.{name}": value for name, value in FORMS[new].items()})
    section, _, name = where.partition(".")
    place = getattr(got, section)
    found = place[name] if isinstance(place, dict) else getattr(place, name)
    assert found == PriceSpec(**FORMS[new])


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(FORMS, 2)))
def test_every_form_of_a_price_replaces_every_other_in_a_task(task_file, old, new):
    """The same rule, the same result."""
    base = with_changes(read_deployment(task_file), {"teacher.price": FORMS[old]})
    words = {f"teacher.price.{name}": value for name, value in FORMS[new].items()}
    assert with_changes(base, words).teacher.price == PriceSpec(**FORMS[new])


@pytest.mark.parametrize("half", ["input", "output"])
def test_half_a_price_keeps_the_models_other_half(task_file, half):
    """gpt-4o is 2.50 in and 10 out: moving one leaves the other, in both modes."""
    price = {f"teacher.price.usd_per_mtok_{half}": 4}
    scenario = vary(load(EXAMPLES / "ten-million-a-day.yaml"), {"teacher.price": FORMS["model"]})
    task = with_changes(read_deployment(task_file), {"teacher.price": FORMS["model"]})
    want = {"input": 2.5, "output": 10} | {half: 4}
    for got in (vary(scenario, price), with_changes(task, price)):
        spec = got.teacher.price
        assert spec.model is None
        assert float(spec.usd_per_mtok_input) == want["input"]
        assert float(spec.usd_per_mtok_output) == want["output"]


def test_half_a_price_of_nobodys_model_says_what_to_add(task_file):
    """Where no other half is known, the sentence names the field."""
    task = with_changes(read_deployment(task_file), {"teacher.price": FORMS["hour"]})
    with pytest.raises(BadProjection, match="usd_per_mtok_output is missing beside"):
        with_changes(task, {"teacher.price.usd_per_mtok_input": 4})


def test_another_kind_of_teacher_drops_what_is_the_other_kinds_own():
    """A sweep over kinds runs: slots and latency go, price and tokens stay."""
    base = load(EXAMPLES / "ten-million-a-day.yaml")
    got = vary(base, {"teacher.kind": "hosted", "teacher.replicas": 3})
    assert (got.teacher.kind, got.teacher.replicas) == ("hosted", 3)
    assert got.teacher.price == base.teacher.price
    assert vary(got, {"teacher.kind": "api"}).teacher.kind == "api"
    with pytest.raises(BadScenario, match=r"there is no field teacher\.replicas"):
        vary(base, {"teacher.replicas": 3})


def test_the_cases_that_were_refused_run():
    """A model for a hosted teacher, an hourly price for a machine: the most natural what-ifs."""
    for name, words in (
        ("burst", "teacher.price.model=openai:gpt-4o"),
        ("ten-million-a-day", "student.price.usd_per_hour=0.2"),
    ):
        args = [str(EXAMPLES / f"{name}.yaml"), "--set", "days=0.005", "--set", words,
                "--seeds", "1", "--json"]  # fmt: skip
        done = CliRunner().invoke(whatif, args, catch_exceptions=False)
        assert done.exit_code in (0, 3), done.output
        assert json.loads(done.stdout)["rails"]


def test_changed_counts_leave_the_labels_tokens(task_file):
    """What-if counts are counts: tokens, training and what labels cost stay the bundle's."""
    measured = read_deployment(task_file)
    got = read_deployment(task_file, changes=COUNTS)
    assert (got.evaluation.n, got.evaluation.escalated) == (1000, 80)
    assert got.usage == measured.usage
    assert got.one_off == measured.one_off
    assert got.curve == ()
    assert got.certified is None
    one = read_deployment(task_file, changes={"evaluation.disagreements": 70})
    assert one.evaluation.n == measured.evaluation.n


def test_a_task_is_swept_and_written_as_csv(task_file, tmp_path):
    """Both modes sweep and export; each row is its own what-if."""
    args = ["--task", str(task_file), "--sweep", "traffic.requests_per_day=1e4,1e7"]
    target = tmp_path / "rows.csv"
    done = CliRunner().invoke(whatif, [*args, "--csv", str(target), "--json"])
    rows = json.loads(done.stdout)
    assert [row["requests_per_month"] for row in rows] == [304_167, 304_166_667]
    assert rows[0]["saving_usd"] < rows[1]["saving_usd"]
    assert len(target.read_text().splitlines()) == 3
    shown = CliRunner().invoke(whatif, [*args, "--markdown"]).stdout
    assert "traffic.requests_per_day=10000.0" in shown


@pytest.mark.parametrize(
    "words",
    [["--p99-ms", "0"], ["--p99-ms", "nan"], ["--p99-ms", "inf"],
     ["--p99-ms", "800", "--agreement", "2"], ["--p99-ms", "800", "--most-degraded", "-1"],
     ["--p99-ms", "800", "--agreement", "nan"],
     ["--p99-ms", "800", "--availability", "nan", "--hours-between", "24"],
     ["--p99-ms", "800", "--availability", "0.9", "--hours-between", "inf"],
     ["--p99-ms", "800", "--availability", "0.9", "--hours-between", "24", "--back-after-s", "inf"],
     ],
)  # fmt: skip
def test_a_goal_that_is_no_goal_is_a_bad_input(words):
    """Exit code 3 is for goals that no fleet meets; nonsense is 2, before anything is simulated."""
    done = CliRunner().invoke(capacity, [str(EXAMPLES / "burst.yaml"), *words])
    assert getattr(done.exception, "exit_code", done.exit_code) == 2


def test_a_trace_that_is_not_there_says_how_to_get_it():
    """The shipped example names the command that puts its public trace beside it."""
    scenario = load(EXAMPLES / "azure-conversation.yaml")
    if scenario.workload.trace.path.exists():
        pytest.skip("the trace is there")
    with pytest.raises(BadScenario, match=r"get it: curl -fLo examples/scenarios/Azure.*\.csv$"):
        scenario.workload.mean_per_s  # noqa: B018


def test_a_change_leaves_its_base_alone():
    """The file as it was read is not touched."""
    raw = {"teacher": {"price": {"model": "m"}}}
    assert changed(raw, {"teacher.price.usd_per_hour": 1})["teacher"]["price"] == {
        "usd_per_hour": 1
    }
    assert raw == {"teacher": {"price": {"model": "m"}}}


@pytest.mark.parametrize("words", ["a", "a=", "=1"])
def test_a_sweep_without_field_or_values_is_one_sentence(words):
    """What was found and how it is written."""
    with pytest.raises(BadProjection, match="is not FIELD=A,B"):
        parse_axes([words])
