"""A sweep on a real Ray cluster gives what threads give; what is wrong is said in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from costmodel.engine.on_ray import _play
from costmodel.errors import LostCluster
from costmodel.inputs.scenario import Scenario
from costmodel.ray_cluster import joined_cluster, version_here

SCENARIO = Path("examples/scenarios/burst.yaml").resolve()


def whatif(*options, **environment):
    """Run the command in a process of its own."""
    command = [sys.executable, "-c", "from router.cli import run; run()", "whatif", str(SCENARIO)]
    command += ["--sweep", "student.replicas=1,2,3", "--seeds", "2", "--json", *options]
    command += ["--set", "days=0.01"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=600
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.e2e
def test_a_sweep_on_ray_says_what_threads_say():
    """Three places, two seeds, every figure; on a cluster that the command starts itself."""
    here, there = whatif("--workers", "1"), whatif("--engine", "ray", RAY_ADDRESS="local")
    assert here[0] == there[0] in (0, 3), (here[2], there[2])
    assert len(json.loads(here[1])) == 3
    assert here[1] == there[1]


def test_what_cannot_be_played_there_comes_back_as_it_is():
    """The error itself, not a trace of another machine."""
    found = _play(Scenario.model_construct(), 0, "0.0.1")
    assert isinstance(found, LostCluster)
    assert "the work comes from 0.0.1" in str(found)
    assert version_here() in str(found)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://127.0.0.1:10001", "a client's address"),
        ("nowhere", "no Ray cluster at nowhere"),
    ],
)
def test_an_address_that_cannot_be_joined_is_one_sentence(monkeypatch, address, said):
    """Nothing is begun."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(LostCluster, match=said), joined_cluster():
        pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "ray", "--workers", "2"), "--workers is of --engine local"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, said):
    """An option that changes nothing would be a wrong belief."""
    code, _, error = whatif(*options)
    assert code == 2
    assert said in error
