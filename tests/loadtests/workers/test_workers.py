"""Whole load tests against servers whose behaviour is known."""

import json

import pytest

from loadtests.errors import DeadTarget
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.workers.workers import run_load

NOISE = {"max_send_lag_ms": 60_000, "max_generator_cpu": 1.0}
"""What is tested here is not how quiet this machine is."""


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
    url = server("freezing", "--every", "12", "--freeze", "6")
    spec = LoadSpec(url=url, inputs=rows, rate=50, duration_s=11, warmup_s=0, timeout_s=3, **NOISE)
    report = run_load(spec)
    assert set(report.failures) == {"timeout"}
    assert report.succeeded > 0
    assert report.succeeded + report.failed == report.sent == report.scheduled
    slow = server("freezing", "--latency", "2")
    with pytest.raises(DeadTarget, match=r"within 0\.3 s"):
        run_load(spec.model_copy(update={"url": slow, "timeout_s": 0.3}))


@pytest.mark.e2e
def test_command_reports_and_exits_by_verdict(server, rows, command, tmp_path):
    """Exit 0 and a JSON report when the SLO is met, exit 1 when it is not."""
    url = server("null")
    arguments = [
        *("--url", url, "--inputs", str(rows), "--rate", "300", "--duration", "4"),
        *("--warmup", "0", "--max-send-lag-ms", "60000", "--max-generator-cpu", "1"),
        *("--json", str(tmp_path / "report.json")),
    ]
    passed = command(*arguments, "--p99-ms", "5000", "--junit", str(tmp_path / "report.xml"))
    assert passed.returncode == 0, passed.stdout + passed.stderr
    conclusion = json.loads((tmp_path / "report.json").read_text())
    report = conclusion["report"]
    assert report["routes"] == {"student": report["succeeded"]}
    assert conclusion["passed"] is True
    assert (conclusion["target"], conclusion["teacher"]) == (url, f"the teacher of {url}")
    assert 'failures="0"' in (tmp_path / "report.xml").read_text()
    failed = command(*arguments, "--p99-ms", "0.01")
    assert failed.returncode == 1
    assert "FAIL" in failed.stdout


@pytest.mark.e2e
def test_repeats_show_their_spread(server, rows, command, tmp_path):
    """Two runs with two seeds: both are in the report and the verdict is of both."""
    done = command(
        *("--url", server("null"), "--inputs", str(rows), "--rate", "50", "--duration", "1"),
        *("--warmup", "0", "--repeats", "2", "--seed", "5", "--json", str(tmp_path / "r.json")),
        *("--max-send-lag-ms", "60000", "--max-generator-cpu", "1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    conclusion = json.loads((tmp_path / "r.json").read_text())
    assert [run["seed"] for run in conclusion["repeats"]] == [5, 6]
    assert conclusion["report"]["spec"]["seed"] in (5, 6)
    assert "the one with the middle p99" in done.stdout
