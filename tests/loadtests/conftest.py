"""Servers whose behaviour is known, inputs, and the command as a user calls it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, until


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """What the tests learn of this machine's generator stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def server(free_port_of):
    """Start a server of `loadtests.servers`, or the fake teacher, on a free port; end it later."""
    started = []

    def start(name, *arguments):
        port = free_port_of()
        room = "commands" if name == "fake_teacher" else "servers"
        process = subprocess.Popen(
            [sys.executable, "-m", f"loadtests.{room}.{name}", "--port", str(port), *arguments]
        )
        started.append(process)

        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(answers)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture
def rows(tmp_path):
    """A file of 300 inputs, one of them blank."""
    path = tmp_path / "rows.csv"
    lines = ["text", *(f"message {i}" if i != 7 else '" "' for i in range(300))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def raisehand():
    """The program."""
    return Path(sys.executable).parent / "raisehand"


@pytest.fixture(scope="session")
def command(raisehand):
    """Run `raisehand loadtest` as a user does."""

    def run(*arguments):
        return subprocess.run(
            [raisehand, "loadtest", *arguments], capture_output=True, text=True, timeout=PATIENCE_S
        )

    return run
