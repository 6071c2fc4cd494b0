"""Predicted beside measured: what is called off, and what the runs' own scatter explains."""

import pytest

from loadtests.bench.prediction import (
    FittedAgain,
    ScenarioFigure,
    as_markdown,
    machine_markdown,
    measure,
)
from loadtests.errors import BadLoadSpec


def figure(predicted, measured, least=None, most=None, machine=1.0):
    """One figure whose runs lie between two values."""
    return ScenarioFigure("burst", "p50, ms", predicted, measured, least or measured,
                          most or measured, machine)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (figure(1.09, 1.0), "within"),
        (figure(0.42, 1.21), "OFF"),
        (figure(1.3, 1.0, 0.8, 1.4), "scatter"),
        (figure(1.23, 1.0, machine=1.18), "machine"),
        (figure(1.23, 1.0, machine=1.05), "OFF"),
        (figure(1.23, 1.0, machine=0.9), "OFF"),
        (figure(0.8, 1.0, machine=0.8), "machine"),
        (figure(None, 1.0), "unknown"),
        (figure(1.0, None), "unknown"),
    ],
)
def test_a_figure_is_off_only_where_the_runs_do_not_explain_it(one, word):
    """Ten per cent, what the runs scatter, or what the same load moved by; nothing else passes."""
    assert one.word == word


def test_the_table_says_predicted_measured_and_ratio():
    """The row of the fault that was reported: burst's p50, 65 % too low."""
    table = as_markdown([figure(0.42, 1.21)])
    assert "| burst | p50, ms | 0.42 | 1.21 | 0.347 | OFF |" in table


def test_the_same_load_again_says_what_the_machine_did():
    """Slower in the fit than beside the run: a p50 predicted too high by as much is explained."""
    one = FittedAgain("peak", 500.0, 0.743, 0.6)
    assert one.machine == pytest.approx(1.238, abs=1e-3)
    assert "| peak | 500/s | 0.743 | 0.6 | 1.238 |" in machine_markdown([one])


def test_scenarios_with_different_teachers_are_refused(tmp_path, rows):
    """A profile is of one teacher: a scenario whose teacher hangs has another."""
    task = tmp_path / "task.yaml"
    task.write_text(
        f"name: t\nlabels: [a, b]\nteacher: {{base_url: 'http://127.0.0.1:9'}}\n"
        f"inputs: {{path: {rows}}}\n"
    )
    with pytest.raises(BadLoadSpec, match="teachers that differ"):
        measure({"task": task, "fit": True, "fit_at": (50.0, 150.0)}, ["peak", "teacher-outage"], 1)
