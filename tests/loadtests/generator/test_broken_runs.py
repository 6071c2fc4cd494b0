"""Every way to spoil a load test ends with one clear sentence and the right exit code."""

from pathlib import Path

import pytest
import yaml

QUIET = ("--max-send-lag-ms", "60000", "--max-generator-cpu", "1")
"""What is tested here is not how quiet this machine is."""


def only_sentence(done):
    """What a command that could not be run said: one line on stderr, nothing on stdout."""
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def test_dead_target(command, rows, free_port_of):
    """Nothing listens: exit 2, the URL and what to do, before anything starts."""
    url = f"http://127.0.0.1:{free_port_of()}"
    done = command("--url", url, "--inputs", str(rows))
    assert done.returncode == 2
    assert f"nothing answers at {url}" in only_sentence(done)
    assert "start the server or correct --url" in done.stderr


@pytest.mark.e2e
def test_wrong_key(command, server, rows, monkeypatch):
    """A key that the server refuses: exit 2 and where to set the right one."""
    monkeypatch.setenv("A_KEY", "wrong")
    url = server("fake_teacher", "--label", "a", "--label", "b", "--api-key", "right")
    asked = ("--url", url, "--inputs", str(rows), "--surface", "chat")
    done = command(*asked, "--api-key-env", "A_KEY")
    assert done.returncode == 2
    assert "answered 401" in only_sentence(done)
    assert "api_key_env" in done.stderr


@pytest.mark.e2e
def test_wrong_surface(command, server, rows):
    """A path that the server does not have: exit 2 and the option to look at."""
    url = server("fake_teacher", "--label", "a", "--label", "b")
    done = command("--url", url, "--inputs", str(rows), "--surface", "classify")
    assert done.returncode == 2
    assert "answered 404" in only_sentence(done)
    assert "--surface" in done.stderr


def test_missing_key(command, rows, monkeypatch):
    """A key that is not in the environment: exit 2, the variable is named."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    asked = ("--url", "http://127.0.0.1:1", "--inputs", str(rows))
    done = command(*asked, "--api-key-env", "NO_SUCH_KEY")
    assert done.returncode == 2
    assert "NO_SUCH_KEY is not set" in only_sentence(done)


def test_bad_setting_and_no_target(command, rows):
    """A rate below zero and a missing target: exit 2, what was found, what is allowed."""
    done = command("--url", "http://127.0.0.1:1", "--inputs", str(rows), "--rate", "-1")
    assert done.returncode == 2
    assert "rate: Input should be greater than 0 (found -1.0)" in only_sentence(done)
    done = command("--inputs", str(rows))
    assert done.returncode == 2
    assert "give --url of a running server, or --task" in only_sentence(done)


@pytest.mark.e2e
def test_port_in_use(command, server, rows):
    """The router's port is taken: exit 2, before the router is started."""
    taken = server("null").rpartition(":")[2]
    task = Path(rows).with_name("task.yaml")
    content = {"name": "t", "labels": ["a", "b"], "teacher": {"base_url": "http://127.0.0.1:9"}}
    task.write_text(yaml.safe_dump({**content, "inputs": {"path": rows.name}}))
    done = command("--task", str(task), "--port", taken)
    assert done.returncode == 2
    assert f"port {taken} is in use; give another --port" in only_sentence(done)


@pytest.mark.e2e
def test_too_few_samples(command, server, rows):
    """A p99 of a hundred answers is a guess: exit 1, how many are needed and how to get them."""
    done = command(
        *("--url", server("null"), "--inputs", str(rows), "--rate", "50", "--duration", "2"),
        *("--warmup", "0", "--p99-ms", "1000", *QUIET),
    )
    assert done.returncode == 1
    (line,) = [line for line in lines_of(done) if line.startswith("FAIL")]
    assert "answers on route all are too few for a p99; at least 1000 are needed" in line
    assert "raise rate or duration" in line
    assert "INVALID" not in done.stdout


@pytest.mark.e2e
def test_saturated_generator(command, server, rows):
    """More than a process can send: exit 1, INVALID, although the server did nothing wrong.

    How late what it still sent was depends on the machine: a fast one drops the rest in time.
    """
    done = command(
        *("--url", server("null"), "--inputs", str(rows), "--rate", "40000"),
        *("--duration", "0.25", "--warmup", "0", "--concurrency", "20", "--no-null-check"),
    )
    assert done.returncode == 1, done.stderr
    reasons = [line for line in lines_of(done) if line.startswith("INVALID")]
    assert any("dropped" in r and "because 20 requests per process" in r for r in reasons)
    assert any("nothing is claimed above 70%" in r and "more --processes" in r for r in reasons)


@pytest.mark.e2e
def test_generator_that_fails_against_nothing_is_not_believed(command, server, rows):
    """The null check breaks the rules at 1.5 times the rate: exit 1, its figures in the reason."""
    done = command(
        *("--url", server("null"), "--inputs", str(rows), "--rate", "40", "--duration", "1"),
        *("--warmup", "0", "--null-check", "--max-send-lag-ms", "0.001"),
    )
    assert done.returncode == 1
    reasons = [line for line in lines_of(done) if line.startswith("INVALID")]
    assert any("null server at 60 rps" in r and "cannot be believed" in r for r in reasons)


def lines_of(done):
    """Lines of the report as they were before the terminal wrapped them."""
    text = done.stdout.replace("\nFAIL ", "\0FAIL ").replace("\nINVALID ", "\0INVALID ")
    return [" ".join(part.split()) for part in text.split("\0")]
