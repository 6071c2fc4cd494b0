"""A profile is fitted on what was measured, also where the measuring was cut short."""

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


@pytest.mark.e2e
def test_a_fit_that_is_cut_short_is_of_the_rates_before(server, rows, tmp_path, monkeypatch):
    """Two of three rates were measured: the profile is of them, and what ended it is told."""
    monkeypatch.setattr(prediction, "FITTED_S", 2.0)
    (tmp_path / "task.yaml").write_text(TASK)
    spec = LoadSpec(
        url=server("null"), inputs=rows, rate=1, warmup_s=0.5,
        max_send_lag_ms=1000, max_generator_cpu=1.0,
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
