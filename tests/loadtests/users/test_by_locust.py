"""Load tests that `locust` itself runs: alone, as a master with workers, from its web UI."""

import contextlib
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
QUIET = ("--max-send-lag-ms", "60000", "--max-generator-cpu", "1")


def locust(*arguments, file=LOCUSTFILE):
    """Start `locust` as a user does."""
    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(file), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
    )  # fmt: skip


def ended(process):
    """What it said and how it ended."""
    out, err = process.communicate(timeout=150)
    return process.returncode, out, err


def stats(prefix):
    """Locust's own CSV, by name."""
    with Path(f"{prefix}_stats.csv").open() as file:
        return {line["Name"]: line for line in csv.DictReader(file)}


@pytest.mark.e2e
def test_headless_sees_the_freeze(server, rows, tmp_path):
    """2 s of 6 frozen: Locust's own CSV has the latency from the instant; FAIL, exit code 1."""
    url = server("freezing", "--every", "6", "--freeze", "2")
    prefix = tmp_path / "run"
    code, out, err = ended(
        locust(
            *("--headless", "--host", url, "--inputs", str(rows), "--rate", "200", *QUIET),
            *("--duration-s", "9", "--warmup-s", "0", "--timeout-s", "60", "--p99-ms", "100"),
            *("--csv", str(prefix), "--html", str(tmp_path / "run.html"), "--only-summary"),
        )
    )
    assert code == 1, err
    assert "FAIL all p99" in out
    found = stats(prefix)["Aggregated"]
    assert float(found["99%"]) > 1500
    assert int(found["Failure Count"]) == 0
    assert "/v1/classify student" in (tmp_path / "run.html").read_text()


@pytest.mark.e2e
def test_raisehand_hands_on_to_locust(server, rows, tmp_path, command):
    """`raisehand loadtest --locust=--csv=…`: the events fire there too, with the same counts."""
    prefix = tmp_path / "run"
    done = command(
        *("--url", server("null"), "--inputs", str(rows), "--rate", "100", "--duration", "3"),
        *("--arrivals", "constant", "--warmup", "1", *QUIET, f"--locust=--csv={prefix}"),
    )
    assert done.returncode == 0, done.stderr
    assert int(stats(prefix)["/v1/classify student"]["Request Count"]) == 300
    assert "300 requests, 300 answered" in " ".join(done.stdout.split())


@contextlib.contextmanager
def master_and_workers(n, *arguments, port):
    """A master with n workers on loopback; all of them are gone afterwards."""
    master = locust(
        *("--master", "--headless", "--expect-workers", str(n), "--master-bind-port", str(port)),
        *("--master-bind-host", "127.0.0.1", *arguments),
    )
    workers = [
        locust("--worker", "--master-host", "127.0.0.1", "--master-port", str(port))
        for _ in range(n)
    ]
    try:
        yield master
    finally:
        for process in (master, *workers):
            process.kill()
            process.communicate()


@pytest.mark.e2e
@pytest.mark.parametrize("frozen", [False, True])
def test_a_master_and_three_workers_share_one_schedule(
    server, rows, tmp_path, free_port_of, frozen
):
    """Each arrival is sent once, by one of them; the master judges all of it."""
    url = server("freezing", "--every", "6" if frozen else "900", "--freeze", "2")
    prefix = tmp_path / "run"
    arguments = (
        *("--host", url, "--inputs", str(rows), "--rate", "90", "--arrivals", "constant"),
        *("--duration-s", "8", "--warmup-s", "0", "--timeout-s", "60", *QUIET),
        *("--max-failure-rate", "0", "--csv", str(prefix)),
        *(("--slo", str(limits(tmp_path))) if frozen else ()),
    )
    with master_and_workers(3, *arguments, port=free_port_of()) as master:
        code, out, err = ended(master)
    words = " ".join(out.split())
    assert "720 requests, 720 answered, 0 failed, 0 dropped" in words, err
    assert int(stats(prefix)["/v1/classify student"]["Request Count"]) == 720
    assert code == (1 if frozen else 0)
    assert ("FAIL" if frozen else "PASS") in words
    if frozen:
        assert float(stats(prefix)["Aggregated"]["99%"]) > 1500


def limits(tmp_path):
    """An slo.yaml that a frozen server breaks."""
    path = tmp_path / "slo.yaml"
    path.write_text("max_failure_rate: 0\nlatency_ms: {all: {p90: 500}}\n")
    return path


@pytest.mark.e2e
def test_a_lost_worker_voids_the_run(server, rows, free_port_of):
    """One of two workers is killed: what the other counted is shown, INVALID, exit code 1."""
    port = free_port_of()
    master = locust(
        *("--master", "--headless", "--expect-workers", "2", "--master-bind-port", str(port)),
        *("--host", server("null"), "--inputs", str(rows), "--rate", "40", *QUIET),
        *("--duration-s", "60", "--warmup-s", "0"),
    )
    workers = [
        locust("--worker", "--master-host", "127.0.0.1", "--master-port", str(port))
        for _ in range(2)
    ]
    try:
        for line in master.stderr:
            if "All users spawned" in line or "Spawning is complete" in line:
                break
        workers[0].kill()
        code, out, _ = ended(master)
    finally:
        for process in (master, *workers):
            process.kill()
            process.communicate()
    assert code == 1, out
    assert "INVALID" in out
    assert "1 of 2 workers were left at the end" in " ".join(out.split())


@pytest.mark.e2e
def test_drops_are_shown(server, rows, tmp_path):
    """Two users and a server that takes half a second: what nobody could send is a failure."""
    url = server("freezing", "--latency", "0.5", "--every", "900")
    code, out, _ = ended(
        locust(
            *("--headless", "--host", url, "--inputs", str(rows), "--rate", "20", *QUIET),
            *("--duration-s", "4", "--warmup-s", "0", "--concurrency", "2"),
            *("--csv", str(tmp_path / "run")),
        )
    )
    assert code == 1
    assert "arrivals were dropped" in " ".join(out.split())
    assert int(stats(tmp_path / "run")["(nobody was free to send)"]["Failure Count"]) > 30


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--inputs", "none.csv", "--rate", "5"), "none.csv"),
        (("--rate", "5"), "there are no inputs; give --inputs"),
        (("--inputs", "ROWS", "--rate", "abc"), "rate: Input should be a valid number"),
        (("--inputs", "ROWS", "--surface", "klassify"), "surface: Input should be 'classify'"),
        (("--inputs", "ROWS", "--tags", "decisions"), "at least 2 labels"),
        (("--inputs", "ROWS", "--hard-share", "0.5"), "leave out --hard-share"),
        (("--inputs", "ROWS", "--arrivals", "replay", "--trace", "no.csv"), "no.csv"),
        (("--inputs", "ROWS", "--rate", "abc", "--autostart"), "rate: Input should be"),
        (("--inputs", "ROWS", "--host", "http://192.0.2.1"), "192.0.2.1 is not this machine"),
        (("--inputs", "ROWS", "--host", "http://127.0.0.1:9"), "nothing answers at"),
    ],
)
def test_wrong_options_are_one_sentence(rows, server, free_port_of, arguments, words):
    """Exit code 2 and one line, whatever is wrong, before any user is born."""
    asked = [str(rows) if part == "ROWS" else part for part in arguments]
    host = () if "--host" in asked else ("--host", server("null"))
    how = ("--web-port", str(free_port_of())) if "--autostart" in asked else ("--headless",)
    code, _, err = ended(locust(*how, "--skip-log-setup", *host, *asked))
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert words in line
    assert "Traceback" not in err


@pytest.mark.e2e
def test_a_locustfile_of_ones_own(server, rows, tmp_path):
    """The example: its weights, its names, its own event listener."""
    prefix = tmp_path / "run"
    code, out, err = ended(
        locust(
            *("--headless", "--host", server("null"), "--inputs", str(rows), "--rate", "100"),
            *("--duration-s", "4", "--warmup-s", "0", *QUIET, "--csv", str(prefix)),
            *("--tags", "classify"),
            file=ROOT / "examples" / "loadtests" / "locustfile.py",
        )
    )
    assert code == 0, err
    assert set(stats(prefix)) == {"a message", "Aggregated"}
    assert "0 answers were unsure" in out
