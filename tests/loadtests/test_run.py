"""Whole load tests against servers whose behaviour is known."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from loadtests.errors import BadLoadSpec, DeadTarget, GeneratorFailed
from loadtests.run import run_load
from loadtests.slo import Slo
from loadtests.spec import LoadSpec

NOISE = {"max_send_lag_ms": 1000, "max_generator_cpu": 1.0}
"""What is tested here is not how quiet this machine is."""


def free_port():
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server():
    """Start `python -m loadtests.servers.NAME` on a free port; end it afterwards."""
    started = []

    def start(name, *arguments):
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", f"loadtests.servers.{name}", "--port", str(port), *arguments]
        )
        started.append(process)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"http://127.0.0.1:{port}"
            time.sleep(0.05)
        raise AssertionError(f"{name} did not start")

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def rows(tmp_path):
    """A file of 300 inputs, one of them blank."""
    path = tmp_path / "rows.csv"
    lines = ["text", *(f"message {i}" if i != 7 else '" "' for i in range(300))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.e2e
def test_freezing_server_cannot_hide(server, rows):
    """A server that stalls 2 s in every 6 shows p99 > 1.5 s and fails an SLO of 100 ms."""
    url = server("freezing", "--every", "6", "--freeze", "2")
    spec = LoadSpec(
        url=url, inputs=rows, rate=200, duration_s=9, warmup_s=0.5, timeout_s=60, **NOISE
    )
    report = run_load(spec, Slo(latency_ms={"all": {"p99": 100}}))
    assert report.latency_ms["all"].p99 > 1500
    assert report.failed == 0
    assert [check.name for check in report.checks if not check.passed] == ["all p99"]
    assert not report.passed


@pytest.mark.e2e
def test_two_processes_and_samples_account_for_every_request(server, rows, tmp_path):
    """Two workers send the whole schedule once; samples, report and server agree on every count."""
    url = server("fake_teacher", "--label", "a", "--label", "b")
    samples = tmp_path / "out" / "samples.jsonl"
    spec = LoadSpec(
        url=url,
        inputs=rows,
        surface="chat",
        rate=100,
        arrivals="constant",
        duration_s=2.99,
        warmup_s=0.5,
        processes=2,
        samples=samples,
        **NOISE,
    )
    report = run_load(spec)
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert report.passed
    assert report.succeeded == report.sent == report.scheduled == len(lines) == 299
    assert sorted(line["row"] for line in lines) == [i for i in range(300) if i != 7]
    assert [line["at_s"] for line in lines] == sorted(line["at_s"] for line in lines)
    assert {line["label"] for line in lines} == {"a", "b"}
    assert report.routes == {"unrouted": 299}
    assert report.escalation_rate is None
    assert report.unpriced == 299
    assert report.unmeasured_sent == 51


@pytest.mark.e2e
def test_failures_are_counted_by_kind(server, rows):
    """A teacher that throttles, garbles and breaks off is reported with each kind."""
    url = server(
        "fake_teacher",
        *("--label", "a", "--label", "b"),
        *("--set", "throttle_rate=0.2", "--set", "garbage_rate=0.2", "--set", "truncated_rate=0.2"),
    )
    spec = LoadSpec(
        url=url, inputs=rows, surface="chat", rate=200, duration_s=2, warmup_s=0, **NOISE
    )
    for _ in range(5):  # the one request that tries the target may itself be garbled
        try:
            report = run_load(spec)
            break
        except DeadTarget:
            continue
    assert set(report.failures) == {"http_429", "garbled", "connection"}
    assert report.succeeded + report.failed == report.sent == report.scheduled
    assert not report.passed


@pytest.mark.e2e
def test_slow_server_times_out_and_the_run_ends(server, rows):
    """Answers later than the time-out are failures, and the test does not hang on them."""
    url = server("freezing", "--latency", "0.8")
    spec = LoadSpec(url=url, inputs=rows, rate=50, duration_s=1, warmup_s=0, timeout_s=0.9, **NOISE)
    quick = spec.model_copy(update={"timeout_s": 0.3})
    assert run_load(spec).failures.get("timeout", 0) < 25
    with pytest.raises(DeadTarget, match=r"within 0\.3 s"):
        run_load(quick)


@pytest.mark.e2e
def test_killed_worker_is_one_sentence(server, rows):
    """A Locust process that is killed in the middle ends the run with its name and signal."""
    spec = LoadSpec(
        url=server("null"), inputs=rows, rate=50, duration_s=20, warmup_s=0, processes=2, **NOISE
    )
    caught = []

    def run():
        with pytest.raises(GeneratorFailed) as error:
            run_load(spec)
        caught.append(str(error.value))

    thread = threading.Thread(target=run)
    thread.start()
    victim, deadline = None, time.monotonic() + 30
    while victim is None and time.monotonic() < deadline:
        time.sleep(0.2)
        locusts = [
            child.pid
            for child in psutil.Process().children()
            if any("locustfile" in part for part in child.cmdline())
        ]
        victim = locusts[1] if len(locusts) == 2 else None
    os.kill(victim, signal.SIGKILL)
    thread.join(timeout=30)
    assert "load generator process 1 was killed by signal 9" in caught[0]


def test_dead_target_is_said_before_anything_starts(rows):
    """Nothing listens: one sentence with the URL, at once."""
    spec = LoadSpec(url=f"http://127.0.0.1:{free_port()}", inputs=rows, rate=5)
    with pytest.raises(DeadTarget, match="nothing answers at http"):
        run_load(spec)


def test_missing_key_is_said_before_anything_starts(rows, monkeypatch):
    """A key that is not in the environment is named."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    spec = LoadSpec(url="http://127.0.0.1:1", inputs=rows, rate=5, api_key_env="NO_SUCH_KEY")
    with pytest.raises(BadLoadSpec, match="NO_SUCH_KEY is not set"):
        run_load(spec)


@pytest.mark.e2e
def test_wrong_key_and_wrong_path_are_said(server, rows, monkeypatch):
    """401 and 404 end the run before it begins, with what to do."""
    monkeypatch.setenv("A_KEY", "wrong")
    url = server("fake_teacher", "--label", "a", "--label", "b", "--api-key", "right")
    spec = LoadSpec(url=url, inputs=rows, rate=5, surface="chat", api_key_env="A_KEY")
    with pytest.raises(DeadTarget, match=r"answered 401 .* valid key"):
        run_load(spec)
    monkeypatch.setenv("A_KEY", "right")
    with pytest.raises(DeadTarget, match=r"answered 404 .* --surface"):
        run_load(spec.model_copy(update={"surface": "classify"}))


@pytest.mark.e2e
def test_command_reports_and_exits_by_verdict(server, rows, tmp_path):
    """Exit 0 and a JSON report when the SLO is met, exit 1 when it is not."""
    arguments = [
        *("--url", server("null"), "--inputs", str(rows), "--rate", "300", "--duration", "4"),
        *("--warmup", "0", "--max-send-lag-ms", "1000", "--max-generator-cpu", "1"),
        *("--json", str(tmp_path / "report.json")),
    ]
    passed = command(*arguments, "--p99-ms", "5000", "--junit", str(tmp_path / "report.xml"))
    assert passed.returncode == 0, passed.stdout + passed.stderr
    conclusion = json.loads((tmp_path / "report.json").read_text())
    report = conclusion["report"]
    assert report["routes"] == {"student": report["succeeded"]}
    assert conclusion["passed"] is True
    assert 'failures="0"' in (tmp_path / "report.xml").read_text()
    failed = command(*arguments, "--p99-ms", "0.01")
    assert failed.returncode == 1
    assert "FAIL" in failed.stdout


def test_command_that_cannot_run_exits_2_with_one_sentence(rows):
    """A dead target and a bad setting: exit code 2 and one line, no traceback."""
    for arguments in (
        ("--url", f"http://127.0.0.1:{free_port()}", "--inputs", str(rows)),
        ("--url", "http://127.0.0.1:1", "--inputs", str(rows), "--rate", "-1"),
        ("--inputs", str(rows)),
    ):
        done = command(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert len(done.stderr.strip().splitlines()) == 1


def command(*arguments):
    """Run `raisehand loadtest` as a user does."""
    raisehand = Path(sys.executable).parent / "raisehand"
    return subprocess.run(
        [raisehand, "loadtest", *arguments], capture_output=True, text=True, timeout=120
    )
