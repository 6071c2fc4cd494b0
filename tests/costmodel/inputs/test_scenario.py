"""Scenario files: what is read, what is changed, and one sentence for every fault."""

from pathlib import Path

import pytest
import yaml

from costmodel.errors import BadScenario
from costmodel.inputs.scenario import HostedTeacher, Scenario, load, sweep, vary
from costmodel.inputs.workload import Workload

GOOD = {
    "name": "good",
    "workload": {"per_day": 1e6},
    "policy": {"escalation_rate": 0.1},
    "quality": {"risk_coverage": [[0.5, 0.98, 0.05], [0.9, 0.9, 0.01]]},
}
EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "scenarios").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    """Write a mapping as a scenario file and return its path."""

    def _write(raw):
        path = tmp_path / "scenario.yaml"
        path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw))
        return path

    return _write


def with_field(field, value):
    """The good scenario with one dotted field set."""
    raw = yaml.safe_load(yaml.safe_dump(GOOD))
    *parents, leaf = field.split(".")
    place = raw
    for parent in parents:
        place = place.setdefault(parent, {})
    place[leaf] = value
    return raw


def test_a_good_file_loads(write):
    """Fields and defaults are there; the teacher is an API unless it says otherwise."""
    scenario = load(write(GOOD))
    assert scenario.workload.per_day == 1e6
    assert scenario.teacher.kind == "api"
    assert scenario.duration_s == 86_400


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_shipped_scenarios_load(path):
    """Every example is a valid scenario."""
    assert load(path).name


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("workload.per_day", -1, r"workload\.per_day: .*greater than 0 \(found -1\)"),
        ("workload.per_day", float("nan"), r"workload\.per_day: .*finite|greater"),
        ("workload.per_second", 5, "both per_day and per_second"),
        ("workload.hourly", [1, 2], "hourly has 2 rates; it needs 24"),
        ("workload.arrivals", "replay", "belong together"),
        ("policy.escalation_rate", 1.5, r"policy\.escalation_rate: .*less than or equal to 1"),
        ("policy.threshold", 0.5, "either threshold or escalation_rate"),
        ("policy.deadline_s", 0, r"policy\.deadline_s: .*greater than 0"),
        ("policy.treshold", 0.5, r"there is no field policy\.treshold"),
        ("student.replicas", 0, r"student\.replicas: .*at least|greater than or equal to 1"),
        ("student.price", {"model": "a", "usd_per_hour": 1}, "2 price forms"),
        ("student.price", {"usd_per_hour": "1 EUR", "requests_per_second": 1}, "student.price"),
        ("student.autoscaling", {"min_replicas": 3, "max_replicas": 2}, "below min_replicas 3"),
        ("quality.risk_coverage", [[0.5, 0.8, 0.1], [0.9, 0.9, 0.1]], "cannot keep more"),
        ("quality.risk_coverage", [[0.5, 0.8, 0.1]], "at least 2 rows"),
        ("teacher.kind", "oracle", "teacher: .*'api', 'hosted'"),
        ("teacher.cached_prompt_tokens", 500, "more than prompt_tokens"),
        ("teacher.noise", {"kind": "measured"}, "belong together"),
        ("days", 0, "days: .*greater than 0"),
    ],
)
def test_a_bad_field_is_one_sentence(write, field, value, words):
    """The fault names the field, what was found and what is allowed."""
    with pytest.raises(BadScenario, match=words) as fault:
        load(write(with_field(field, value)))
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[1, 2]", "is a list; it must be a mapping"), ("a: [", "is not YAML"), ("", "NoneType")],
)
def test_a_file_that_is_no_scenario_says_so(write, text, words):
    """Lists, broken YAML and empty files get a sentence."""
    with pytest.raises(BadScenario, match=words):
        load(write(text))


def test_a_missing_file_says_so(tmp_path):
    """The path is named."""
    with pytest.raises(BadScenario, match=r"none\.yaml cannot be read"):
        load(tmp_path / "none.yaml")


def test_a_threshold_needs_a_curve(write):
    """Without a curve nobody knows what a threshold keeps."""
    raw = with_field("policy", {"threshold": 0.9})
    assert load(write(raw)).policy.threshold == 0.9
    del raw["quality"]
    with pytest.raises(BadScenario, match=r"without quality\.risk_coverage"):
        load(write(raw))


def test_vary_replaces_fields_and_their_other_form(write):
    """A dotted change replaces; naming one form of a value drops the other."""
    base = load(write(GOOD))
    changed = vary(base, {"workload.per_second": 3, "policy.threshold": 0.9, "student.replicas": 7})
    assert (changed.workload.per_second, changed.workload.per_day) == (3, None)
    assert (changed.policy.threshold, changed.policy.escalation_rate) == (0.9, None)
    assert changed.student.replicas == 7
    assert base.student.replicas == 2
    with pytest.raises(BadScenario, match=r"there is no field student\.replica"):
        vary(base, {"student.replica": 7})


def test_vary_keeps_what_it_does_not_name():
    """A scenario built in Python survives a change of something else, defaults and all."""
    base = Scenario(
        name="b", workload=Workload(per_second=1), teacher=HostedTeacher(step_s=0.5, max_running=4)
    )
    changed = vary(base, {"student.replicas": 3})
    assert changed.teacher == base.teacher
    assert changed == base.model_copy(
        update={"student": base.student.model_copy(update={"replicas": 3})}
    )


def test_sweep_visits_every_combination_once(write):
    """Two axes of 2 and 3 values are 6 named scenarios, the last axis fastest."""
    axes = {"student.replicas": [1, 2], "policy.escalation_rate": [0.0, 0.1, 0.2]}
    places = list(sweep(load(write(GOOD)), axes))
    assert len({s.name for s in places}) == 6
    assert [s.policy.escalation_rate for s in places[:3]] == [0.0, 0.1, 0.2]


def test_a_trace_path_is_relative_to_the_file(write, tmp_path):
    """The file's folder is where its trace is looked for."""
    raw = with_field("workload", {"arrivals": "replay", "trace": {"path": "t.csv"}})
    assert load(write(raw)).workload.trace.path == tmp_path / "t.csv"
