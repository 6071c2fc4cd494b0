"""Scenario, task and options become one load test."""

import numpy as np
import pytest
import yaml

from loadtests.errors import BadLoadSpec
from loadtests.inputs.request import wanted_of
from loadtests.inputs.scenario import read_scenario, read_slo, shipped
from loadtests.servers.knobs import Knobs

TASK = {
    "name": "urgent",
    "labels": {"calm": "nobody needs to act", "urgent": ""},
    "teacher": {
        "mode": "chat",
        "model": "m",
        "base_url": "http://127.0.0.1:1",
        "answers": {"calm": "no", "urgent": "yes"},
        "prompt": {"user": "Is it? {text}"},
    },
    "inputs": {"path": "rows.csv", "text": "message", "gold": "gold"},
    "student": {"family": "linear"},
}


@pytest.fixture
def task(tmp_path):
    """A task file in a folder of its own."""
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(TASK, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenario_can_be_run(name, task):
    """Every shipped scenario is a load test, its teacher can be started and its limits hold."""
    wanted = wanted_of({"scenario": name, "task": task})
    spec = wanted.spec("http://127.0.0.1:1")
    assert spec.expected_requests > 100
    assert Knobs(labels=wanted.task.words, **wanted.scenario.teacher)
    assert wanted.null_check is True


def test_scenarios_of_the_shelf_are_all_there():
    """The nine that the documentation speaks of."""
    assert shipped() == [
        "average-10M-day",
        "burst",
        "gpu-saturation",
        "hard-flood",
        "overload",
        "peak",
        "smoke",
        "soak",
        "teacher-outage",
    ]


def test_task_gives_inputs_and_prompt_and_options_win(task, tmp_path):
    """Inputs, columns and prompt come from the task; what the command line says beats all."""
    wanted = wanted_of({"task": task, "scenario": "burst", "rate": 7.0, "shape": "steady"})
    spec = wanted.spec()
    assert spec.inputs == tmp_path / "rows.csv"
    assert (spec.text, spec.user, spec.model) == ("message", "Is it? {text}", "urgent")
    assert spec.labels == ("no", "yes")
    assert (spec.rate, spec.shape.kind, spec.arrivals) == (7.0, "steady", "gamma")


def test_served_task_has_another_teacher_and_absolute_paths(task, tmp_path):
    """The copy that the router serves differs in the teacher's URL, its mode and its paths only."""
    read = wanted_of({"task": task}).task
    served = read.with_teacher("http://127.0.0.1:7", "classify")
    assert served["teacher"]["base_url"] == "http://127.0.0.1:7"
    assert served["teacher"]["answers"] == TASK["teacher"]["answers"]
    assert served["inputs"]["path"] == str(tmp_path / "rows.csv")
    assert served["work_dir"] == str(tmp_path / ".raisehand")
    assert served["labels"] == TASK["labels"]


def test_options_tighten_the_scenario_s_limits(task):
    """--p99-ms and --max-failure-rate replace the scenario's and leave its other limits."""
    wanted = wanted_of({"task": task, "scenario": "peak", "p99_ms": 9.0, "max_failure_rate": 0.5})
    assert wanted.slo.max_failure_rate == 0.5
    assert wanted.slo.latency_ms == {"student": {"p99": 50}, "all": {"p99": 9.0}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give --url of a running server, or --task"),
        ({"url": "http://127.0.0.1:1"}, "give --inputs data.csv"),
        ({"url": "http://127.0.0.1:1", "scenario": "nosuch"}, "the shipped ones are average"),
        ({"url": "http://127.0.0.1:1", "scenario": "no/such.yaml"}, "cannot be read"),
        ({"url": "http://127.0.0.1:1", "fit": True}, "--fit needs --task"),
    ],
)
def test_what_is_missing_is_said(options, words):
    """One sentence with what to give."""
    with pytest.raises(BadLoadSpec, match=words):
        wanted_of(options)


def test_missing_task_and_broken_scenario_are_said(tmp_path):
    """A task that is not there and a scenario with an unknown field are named."""
    with pytest.raises(BadLoadSpec, match="does not exist"):
        wanted_of({"task": tmp_path / "none.yaml"})
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nabout: x\nload: {}\nlaod: {}\n", encoding="utf-8")
    with pytest.raises(BadLoadSpec, match="laod"):
        read_scenario(str(path))


def test_slo_file_is_read_or_refused_by_field(tmp_path):
    """slo.yaml holds limits; a limit that does not exist is named."""
    path = tmp_path / "slo.yaml"
    path.write_text("max_failure_rate: 0.02\nlatency_ms: {student: {p99: 5}}\n", encoding="utf-8")
    assert read_slo(path).latency_ms["student"]["p99"] == 5
    path.write_text("latency_ms: {student: {p98: 5}}\n", encoding="utf-8")
    with pytest.raises(BadLoadSpec, match="p98"):
        read_slo(path)


@pytest.mark.parametrize("name", ["p50", "p75", "p90", "p95", "p99", "p99.9", "max"])
@pytest.mark.parametrize("of", ["latency_ms", "worst_interval_ms"])
def test_every_percentile_can_be_a_limit(name, of, tmp_path):
    """Those that teams write into an SLO, over the run and in its worst interval."""
    path = tmp_path / "slo.yaml"
    path.write_text(f"{of}: {{student: {{{name}: 5}}}}\n", encoding="utf-8")
    assert getattr(read_slo(path), of)["student"] == {name: 5}


def test_samples_are_of_one_run(task, tmp_path):
    """Several runs would write one file; which is said, and what to leave out."""
    with pytest.raises(BadLoadSpec, match="leave out --repeats"):
        wanted_of({"task": task, "repeats": 3, "samples": tmp_path / "s.jsonl"})
    assert wanted_of({"task": task, "repeats": 3}).repeats == 3


def test_the_teacher_of_a_run_is_named(task):
    """A profile is believed of the teacher that it was fitted on, and of no other."""
    plain = wanted_of({"task": task})
    assert plain.teacher == wanted_of({"task": task, "scenario": "peak"}).teacher
    others = [{"scenario": "teacher-outage"}, {"own_teacher": True}, {"url": "http://127.0.0.1:1"}]
    names = {wanted_of({"task": task, **other}).teacher for other in others}
    assert len(names | {plain.teacher}) == 4


def test_a_client_outwaits_the_router(task):
    """What the router answers at its own deadline is an answer, not the client's time-out."""
    content = yaml.safe_load(task.read_text())
    content["teacher"]["timeout_s"] = 15
    task.write_text(yaml.safe_dump(content))
    assert wanted_of({"task": task}).spec().timeout_s == 20
    assert wanted_of({"task": task, "timeout_s": 3.0}).spec().timeout_s == 3


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("hard-flood", lambda slo: slo.max_escalation_rate and slo.min_good_share),
        ("teacher-outage", lambda slo: slo.max_degraded_rate and slo.worst_interval_ms["student"]),
        ("peak", lambda slo: slo.latency_ms["all"]),
        ("burst", lambda slo: slo.latency_ms["all"] and slo.min_good_share),
    ],
)
def test_a_scenario_limits_what_its_words_promise(name, promise):
    """What the description says is held is a limit, not a hope."""
    assert promise(read_scenario(name).slo)


def test_smoke_has_the_teacher_that_a_profile_is_fitted_on():
    """README's own fit, predict, run fits one teacher."""
    from loadtests.inputs.request import TEACHER

    assert read_scenario("smoke").teacher == TEACHER


def test_stages_of_ones_own():
    """Up in 10 s, level for 20, down in 10, and level to the end."""
    wanted = wanted_of(
        {"url": "http://127.0.0.1:1", "inputs": "x", "stages": "10:5,20:5,10:1", "duration_s": 50}
    )
    shape = wanted.spec().shape
    at, factors = shape.points(50)
    assert np.interp([0, 5, 10, 30, 35, 40, 50], at, factors) == pytest.approx(
        [1, 3, 5, 5, 3, 1, 1], abs=0.05
    )
    assert shape.mean_factor(50) == pytest.approx((30 + 100 + 30 + 10) / 50, rel=0.01)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"stages": "10"}, "'10' is not seconds:factor"),
        ({"stages": "10:2", "shape": "step"}, "--stages is a shape of its own"),
    ],
)
def test_stages_that_cannot_be_are_refused(more, words):
    """One sentence with an example."""
    with pytest.raises(BadLoadSpec, match=words):
        wanted_of({"url": "http://127.0.0.1:1", "inputs": "x", **more})
