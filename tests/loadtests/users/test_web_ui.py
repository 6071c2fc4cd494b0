"""The same user under Locust's own web UI."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from loadtests.inputs.spec import LoadSpec
from tests.waiting import PATIENCE_S, until

LOCUSTFILE = Path(__file__).parents[3] / "loadtests" / "locustfile.py"


def asked(url, **form):
    """The JSON that the UI's own requests get; a form is posted."""
    body = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, body, timeout=90) as reply:
        return json.load(reply)


@pytest.mark.e2e
def test_a_run_is_started_watched_and_stopped_in_the_web_ui(server, rows, free_port_of):
    """Start over HTTP: requests are counted by route, on schedule; stop: they cease."""
    target, port = server("null"), free_port_of()
    ui = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", target),
        *("--web-host", "127.0.0.1", "--web-port", str(port)),
        *("--inputs", str(rows), "--rate", "50", "--duration-s", "60"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as locust:
        try:
            until(lambda: asked(f"{ui}/stats/requests"))
            started = asked(f"{ui}/swarm", user_count=1, spawn_rate=1, host=target)
            assert started["success"], started

            def seen():
                stats = asked(f"{ui}/stats/requests")
                by_name = {line["name"]: line for line in stats["stats"]}
                line = by_name.get("/v1/classify student")
                return line if line and line["num_requests"] >= 100 else None

            line = until(seen)
            assert line["num_failures"] == 0
            assert 0 < line["median_response_time"] < 1000
            assert asked(f"{ui}/stats/requests")["state"] == "running"
            asked(f"{ui}/stop", now="yes")
            until(lambda: asked(f"{ui}/stats/requests")["state"] == "stopped")
            count = asked(f"{ui}/stats/requests")["stats"][0]["num_requests"]
            time.sleep(0.5)
            assert asked(f"{ui}/stats/requests")["stats"][0]["num_requests"] == count
        finally:
            locust.terminate()
            locust.wait(timeout=PATIENCE_S)


@pytest.mark.e2e
def test_a_wrong_start_is_refused_and_the_next_one_runs(server, rows, free_port_of):
    """Each setting that cannot be is one sentence, nobody is born, and it is forgotten again."""
    target, port = server("null"), free_port_of()
    ui = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", target),
        *("--web-host", "127.0.0.1", "--web-port", str(port), "--inputs", str(rows)),
        *("--rate", "50", "--duration-s", "60", "--skip-log-setup"),
    ]
    wrong = [
        ({"inputs": "none.csv"}, "none.csv does not exist"),
        ({"rate": "abc"}, "rate: Input should be a valid number"),
        ({"host": "http://127.0.0.1:9"}, "nothing answers at http://127.0.0.1:9"),
        ({"hard_share": "0.5"}, "leave out --hard-share"),
        ({"arrivals": "replay", "trace": "none.csv"}, "none.csv"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as locust:
        try:
            until(lambda: asked(f"{ui}/stats/requests"))
            start = {"user_count": 1, "spawn_rate": 1, "host": target}
            for form, words in wrong:
                refused = asked(f"{ui}/swarm", **start | form)
                assert not refused["success"]
                assert words in refused["message"]
                assert asked(f"{ui}/stats/requests")["state"] == "ready"
            assert asked(f"{ui}/swarm", **start)["success"]
            until(lambda: asked(f"{ui}/stats/requests")["stats"][0]["num_requests"] >= 20)
        finally:
            locust.terminate()
            _, err = locust.communicate(timeout=PATIENCE_S)
    assert b"Traceback" not in err


CLOSED_LOOP = """
from loadtests.users import ClosedLoopShape, ClosedLoopUser
class Waiting(ClosedLoopUser): ...
class Shape(ClosedLoopShape): ...
"""


@pytest.mark.e2e
def test_a_closed_loop_is_locusts_own_in_the_web_ui_too(server, rows, free_port_of, tmp_path):
    """No schedule beside it: nothing is dropped, and nothing judged that nobody sent."""
    target, port, file = server("null"), free_port_of(), tmp_path / "closed.py"
    file.write_text(CLOSED_LOOP)
    ui = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "locust", "-f", str(file), "--host", target, "--tags", "classify"),
        *("--web-host", "127.0.0.1", "--web-port", str(port), "--inputs", str(rows)),
        *("--duration-s", "2"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as locust:
        try:
            until(lambda: asked(f"{ui}/stats/requests"))
            assert asked(f"{ui}/swarm", user_count=2, spawn_rate=2, host=target)["success"]
            until(lambda: asked(f"{ui}/stats/requests")["state"] in ("stopped", "cleanup"))
            found = asked(f"{ui}/stats/requests")["stats"]
        finally:
            locust.terminate()
            said, _ = locust.communicate(timeout=PATIENCE_S)
    assert [line["name"] for line in found] == ["/v1/classify", "Aggregated"]
    assert found[0]["num_requests"] > 20
    assert b"INVALID" not in said


@pytest.mark.e2e
def test_a_run_starts_by_itself_beside_the_web_ui(server, rows, free_port_of):
    """--autostart: the options are the run's; the verdict is in the exit code."""
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", server("null")),
        *("--web-host", "127.0.0.1", "--web-port", str(free_port_of()), "--inputs", str(rows)),
        *("--autostart", "--autoquit", "0", "--rate", "50", "--arrivals", "constant"),
        *("--duration-s", "3", "--warmup-s", "0"),
        *("--max-send-lag-ms", "60000", "--max-generator-cpu", "1"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "150 requests, 150 answered" in " ".join(done.stdout.split()), done.stderr
    assert done.returncode == 0


CELLS = "[...document.querySelectorAll('tbody tr:first-child td')].map(c => c.innerText)"
ELSEWHERE = {"url", "shape", "processes", "samples", "locust", "abort", "closed_loop"}
"""Locust asks for these itself, or not at all here; a shape is several fields."""
SETTINGS = "[...document.querySelectorAll('input')].map(i => i.name)"


@pytest.mark.e2e
def test_a_freezing_server_cannot_hide_from_a_browser(chromium, server, rows, free_port_of):
    """In Chromium: every setting is a field, the rate is typed, and the stall is in the table."""
    target, port = server("freezing", "--every", "4", "--freeze", "2"), free_port_of()
    ui = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", target),
        *("--web-host", "127.0.0.1", "--web-port", str(port), "--inputs", str(rows)),
        *("--arrivals", "constant", "--duration-s", "8", "--warmup-s", "0"),
        *("--max-send-lag-ms", "60000", "--max-generator-cpu", "1"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as locust:
        try:
            until(lambda: asked(f"{ui}/stats/requests"))
            tab = chromium.tab()
            tab.open(ui, until="document.querySelector('button[type=submit]')")
            fields = {re.sub("(?<=[a-z])[A-Z]", lambda m: "_" + m[0], n) for n in tab.run(SETTINGS)}
            settings = LoadSpec.model_fields.keys() - ELSEWHERE
            assert settings - {name.lower() for name in fields} == set()
            tab.run(
                "[...document.querySelectorAll('button')]"
                ".find(b => b.innerText == 'Custom parameters').click()"
            )
            box = "document.querySelector('input[name=rate]')"
            tab.wait(f"(({box}).focus(), document.activeElement == {box})")
            tab.type("60")
            assert tab.run(f"{box}.value") == "60"
            tab.run("document.querySelector('button[type=submit]').click()")
            tab.wait(f"+({CELLS}[2] || 0) >= 400")
            tab.wait(f"+{CELLS}[6] > 1500")
            until(lambda: asked(f"{ui}/stats/requests")["state"] in ("stopped", "cleanup"))
            line = asked(f"{ui}/stats/requests")["stats"][0]
            assert line["num_requests"] == 60 * 8
            assert line["num_failures"] == 0
        finally:
            locust.terminate()
            locust.wait(timeout=PATIENCE_S)
