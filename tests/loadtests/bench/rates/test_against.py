"""Two checkouts side by side: what is said of their pairs, and that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtests.bench.rates.against import _ratios, against

HERE = Path(__file__).parents[4]


def test_the_ratio_is_that_of_pairs_and_its_spread_is_said():
    """A machine that halves its speed in every other pair moves the medians, not the ratio."""
    theirs = [100.0, 50.0, 100.0, 50.0, 100.0]
    ours = [110.0, 55.0, 110.0, 55.0, 99.0]
    found = _ratios(ours, theirs)
    assert (found["this"], found["other"], found["ratio"]) == (99.0, 100.0, 1.1)
    assert found["range"] == [0.99, 1.1]
    assert found["middle_half"] == [1.1, 1.1]


def test_a_folder_that_is_no_checkout_is_refused_in_a_sentence(tmp_path):
    """It says what is missing there."""
    command = [sys.executable, "-c", "from router.cli import run; run()", "bench", "against"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is no checkout of this project" in done.stderr


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path):
    """Before anything is started."""
    assert CliRunner().invoke(against, [str(tmp_path / "none")]).exit_code == 2


@pytest.mark.e2e
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_a_checkout_beside_itself():
    """A short run: nothing fails, and both are measured in every pair."""
    command = [sys.executable, "-c", "from router.cli import run; run()", "bench", "against"]
    done = subprocess.run(
        [*command, str(HERE), "--pairs", "2", "--seconds", "0.4", "--json"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["failed"] == 0
    assert report["pairs"] == 2
    assert report["least_cpu_us"]["this"] > 0
    assert report["rps"]["range"][0] > 0
