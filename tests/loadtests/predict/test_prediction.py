"""A profile is fitted on what was measured, also where the measuring was cut short."""

import json

import pytest

from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.taskfile import read_task
from loadtests.predict import prediction

TASK = "labels: [a, b]\nname: t\nteacher: {base_url: 'http://127.0.0.1:1'}\ninputs: {path: r.csv}\n"


class Impatient:
    """Somebody who presses Ctrl-C in the third run."""

    def __init__(self):
        self.runs, self._before = 0, 0.0

    def __call__(self, seen):
        """Look at the progress."""
        if seen.elapsed_s < self._before:
            self.runs += 1
        self._before = seen.elapsed_s
        if self.runs == 3 and seen.elapsed_s > 0.5:
            raise KeyboardInterrupt


class SlowingMachine:
    """Answers take 1 ms more with every run, whatever the rate; keeps which loads it was given."""

    def __init__(self):
        self.loads = []

    def __call__(self, spec, **_):
        """Write the samples of one run."""
        self.loads.append((spec.rate, spec.cv, spec.duration_s, spec.seed))
        sample = {
            "route": "student", "latency_ms": 1.0 * len(self.loads), "cost_usd": "0.000001",
            "failure": None, "confidence": 0.9,
        }  # fmt: skip
        spec.samples.write_text(f"{json.dumps(sample)}\n" * 400)


def test_a_machine_that_slows_down_does_so_for_every_rate(rows, tmp_path, monkeypatch):
    """Loads are played up and down again: one after the other, the last looked the slowest."""
    machine = SlowingMachine()
    monkeypatch.setattr(prediction, "run_load", machine)
    runs = []
    real = prediction.fit_runs
    monkeypatch.setattr(
        prediction, "fit_runs", lambda found, **how: (runs.extend(found), real(found, **how))[1]
    )
    (tmp_path / "task.yaml").write_text(TASK)
    spec = LoadSpec(url="http://127.0.0.1:9", inputs=rows, rate=1)
    task = read_task(tmp_path / "task.yaml")
    profile, ended = prediction.fit(spec, task, "nobody", (200.0, 50.0))
    assert ended is None
    assert [load[0] for load in machine.loads] == [50, 200, 200, 200, 200, 50]
    assert {load[2] for load in machine.loads} == {prediction.FITTED_S / 2}
    assert len(set(machine.loads)) == 6
    assert [run.all_s.mean() for run in runs] == pytest.approx([0.0035] * 3)
    assert [run.answered for run in profile.fitted_on] == [800] * 3


@pytest.mark.e2e
def test_a_fit_that_is_cut_short_is_of_the_rates_before(server, rows, tmp_path, monkeypatch):
    """Two of three rates were measured: the profile is of them, and what ended it is told."""
    monkeypatch.setattr(prediction, "FITTED_S", 4.0)
    (tmp_path / "task.yaml").write_text(TASK)
    spec = LoadSpec(
        url=server("null"), inputs=rows, rate=1, warmup_s=0.5,
        max_send_lag_ms=60_000, max_generator_cpu=1.0,
    )  # fmt: skip
    profile, ended = prediction.fit(
        spec,
        read_task(tmp_path / "task.yaml"),
        "nobody",
        (200.0, 250.0, 300.0),
        progress=Impatient(),
    )
    assert isinstance(ended, KeyboardInterrupt)
    assert len(profile.fitted_on) == 2
    assert profile.escalation_rate == 0
    assert profile.service_s > 0


@pytest.mark.parametrize(
    "asked",
    [
        {"arrivals": "log", "time": "at"},
        {"arrivals": "replay", "trace": "trace.csv", "hard_share": 0.5},
        {"closed_loop": 4},
    ],
    ids=["log", "trace", "closed loop"],
)
def test_a_profile_is_fitted_on_rates_whatever_the_load_is(asked, tmp_path):
    """A log, a trace and a closed loop have none of their own: the load is a whole one again."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=1, **asked)
    load = prediction.fitted_load(spec, 20.0, 2.0, 5.0, tmp_path / "samples.jsonl")
    again = LoadSpec.model_validate_json(load.model_dump_json())
    assert (again.arrivals, again.rate, again.closed_loop) == ("gamma", 20.0, None)
