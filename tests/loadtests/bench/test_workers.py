"""The measurement of a second worker runs, and says what it rests on."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.e2e
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_the_report_has_the_ratio_its_control_and_the_hand_over():
    """A short run: nothing fails, both workers answer, the engine costs more than no engine."""
    command = [sys.executable, "-c", "from router.cli import run; run()", "bench", "workers"]
    done = subprocess.run(
        [*command, "--runs", "1", "--seconds", "0.4", "--json"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["failed"] == 0
    assert min(report["scaling"], report["machine_scaling"]) > 0
    assert min(report["shares"]) > 0.1
    for row in report["hand_over"]:
        assert row["engine_us"] > row["own_us"]
