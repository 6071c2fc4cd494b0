"""A task with a student that is unsure of 'maybe', and a fake teacher over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from costmodel.processes import running
from students.runtime import hashing
from students.runtime.linear import LinearWeights
from students.task import load_task
from students.testing import publish_linear

LABELS = ["calm", "urgent"]
BUCKETS = 1 << 16


def make_weights():
    """Calm unless 'help' is in a text; 'maybe' makes it a tie."""
    slots = np.full(BUCKETS, -1, np.int32)
    rows = []
    for word, logit in (("help", 6.0), ("maybe", 2.0)):
        data, offsets = hashing.pack([word])
        features = np.unique(hashing.bag(data, offsets, 3, 4, BUCKETS)[0])
        for feature in features:
            slots[feature] = len(rows)
            rows.append([0.0, logit / np.sqrt(features.size)])
    return LinearWeights.of(
        3, 4, slots, np.ones(len(rows), np.float32), np.array(rows, np.float32),
        np.array([2.0, 0.0], np.float32),
    )  # fmt: skip


def make_bundle(folder: Path, thresholds=(0.8, 0.8)):
    """Publish the student with a certificate that fits the task of a folder."""
    return publish_linear(load_task(folder / "task.yaml"), make_weights(), thresholds)


@dataclass
class FakeServer:
    """A `raisehand fake-teacher` process."""

    url: str
    process: subprocess.Popen

    def served(self):
        """What it billed so far."""
        return self._call("/control/served")

    def turn(self, **knobs):
        """Change its knobs."""
        self._call("/control/knobs", json.dumps(knobs).encode())

    def _call(self, path, body=None):
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body)) as response:
            return json.load(response)


@pytest.fixture(scope="session")
def fake_teacher(free_port_of, tmp_path_factory):
    """One for all tests: it calls 'help' and 'sos' urgent, whatever else is in a text."""
    port = free_port_of()
    command = [sys.executable, "-m", "loadtests.commands.fake_teacher", "--port", str(port)]
    command += [option for label in LABELS for option in ("--label", label)]
    command += ["--set", 'keywords={"urgent": ["help", "sos"]}']
    url, log = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("fake-teacher") / "log"
    with running(command, f"{url}/control/served", log) as process:
        yield FakeServer(url, process)


@pytest.fixture
def teacher(fake_teacher):
    """The same with fresh counters and no faults."""
    fake_teacher._call("/control/reset", b"{}")
    fake_teacher.turn(latency_ms=0, error_rate=0, garbage_rate=0, throttle_rate=0)
    return fake_teacher


@pytest.fixture
def job_folder(tmp_path, teacher):
    """Make a folder with a task file and its bundle; the teacher's fields and others can differ."""

    def make(section=None, thresholds=(0.8, 0.8), **changes):
        document = {
            "name": "urgent",
            "labels": LABELS,
            "teacher": {
                "mode": "classify", "base_url": teacher.url, "model": "fake-teacher",
                "price": {"usd_per_mtok_input": 1000, "usd_per_mtok_output": 2000},
                "texts_per_call": 4, "max_concurrency": 4, **(section or {}),
            },
            "inputs": {"path": "rows.csv"},
            "student": {"price": {"usd_per_hour": 3.6, "requests_per_second": 1000}},
            "audit_rate": 0,
        } | changes  # fmt: skip
        (tmp_path / "task.yaml").write_text(yaml.safe_dump(document))
        make_bundle(tmp_path, thresholds)
        return tmp_path

    return make
