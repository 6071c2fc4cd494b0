"""A real router is measured over HTTP and its profile predicts."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from costmodel.fit.prediction import predict
from costmodel.fit.router_profile import load_profile
from costmodel.inputs.workload import Workload
from router.bench.subject import make_texts

RAISEHAND = Path(sys.executable).with_name("raisehand")


@pytest.fixture
def router():
    """A router process on a free port with a random linear student that escalates about 10 %."""
    command = [
        sys.executable,
        "-m",
        "router.bench.servers.target",
        "--port",
        "0",
        "--threshold",
        "0.088",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.terminate()


@pytest.mark.e2e
def test_a_running_router_is_profiled_and_predicted(router, tmp_path):
    """`raisehand profile` writes a profile whose prediction has the router's escalation rate."""
    inputs, out = tmp_path / "inputs.csv", tmp_path / "profile.json"
    with inputs.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in make_texts(2000))])
    command = [str(RAISEHAND), "profile", "--url", router, "--inputs", str(inputs)]
    command += ["--rates", "60,150", "--duration", "6", "--out", str(out), "--predict", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert "predicted at 100/s: p50" in done.stdout
    profile = load_profile(out)
    assert [run.per_second for run in profile.fitted_on] == [60, 150]
    assert 0.03 < profile.escalation_rate < 0.25
    # the teacher of the target takes 50 ms
    assert profile.teacher_s[len(profile.teacher_s) // 2] >= 0.045
    seen = predict(profile, Workload(per_second=100), 6, range(4))
    assert seen.escalation_rate.mean == pytest.approx(profile.escalation_rate, abs=0.03)
    assert not seen.extrapolated
    assert seen.usd_per_1k is not None
    assert seen.usd_per_1k.mean > 0
