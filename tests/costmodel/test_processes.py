"""A process that a command starts is ready when its block begins, and gone when it ends."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from costmodel.processes import NotStarted, answers, free_port, running, stop
from tests.waiting import until

SERVE = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")


def test_a_server_is_ready_in_the_block_and_gone_after_it(tmp_path):
    """Entered when the URL answers; what it says goes to the log."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with running([*SERVE, str(port)], url, tmp_path / "logs" / "server.log") as process:
        assert answers(url)
    assert process.returncode is not None
    assert not answers(url)
    assert "GET / HTTP" in (tmp_path / "logs" / "server.log").read_text(encoding="utf-8")


def test_what_it_said_last_is_the_reason_that_it_did_not_start(tmp_path):
    """Of a process that ends at once."""
    command = [sys.executable, "-c", "import sys; print('Error: no such bundle'); sys.exit(2)"]
    with (
        pytest.raises(NotStarted, match=r"exited with 2 at its start: no such bundle"),
        running(command, "http://127.0.0.1:1/", tmp_path / "log"),
    ):
        pytest.fail("it was never ready")


def test_one_that_is_never_ready_is_ended(tmp_path):
    """After its time, with the log named."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        pytest.raises(NotStarted, match=r"not ready 0 s after its start; see .*log"),
        running(command, lambda: False, tmp_path / "log", timeout_s=0.2),
    ):
        pytest.fail("it was never ready")


def test_a_process_that_does_not_listen_is_killed(tmp_path):
    """SIGTERM first, and not for ever."""
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(600)"
    log = tmp_path / "log"
    command = [sys.executable, "-u", "-c", deaf]
    with running(command, lambda: bool(log.read_bytes()), log) as process:
        stop(process, grace_s=0.1)
    assert process.returncode == -9


def test_what_a_server_started_ends_with_its_session(tmp_path):
    """Its workers, which nobody else would end."""
    starts = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid); time.sleep(9)"
    log = tmp_path / "log"
    command = [sys.executable, "-u", "-c", starts]
    with running(command, lambda: bool(log.read_bytes()), log, start_new_session=True):
        worker = Path(f"/proc/{int(log.read_text())}/cmdline")
        assert worker.read_bytes().startswith(b"sleep")
    while worker.exists() and worker.read_bytes():  # killed, and waiting to be reaped
        time.sleep(0.01)


STARTS = """
import sys, time
from pathlib import Path
from costmodel.processes import running
SERVER = (
    "import os, time; from costmodel.lifeline import end_when_orphaned; end_when_orphaned();"
    "assert 'RAISEHAND_LIFELINE' not in os.environ; print(1, flush=True); time.sleep(600)"
)
log = Path(sys.argv[1])
with running([sys.executable, "-c", SERVER], lambda: bool(log.read_bytes()), log) as process:
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_who_started_it_however_that_ended(tmp_path):
    """Killed, it cannot stop its servers; what these start in turn does not wait for it."""
    command = [sys.executable, "-c", STARTS, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        server = Path(f"/proc/{int(parent.stdout.readline())}")
        assert server.exists()
        os.kill(parent.pid, signal.SIGKILL)
    try:
        until(lambda: not server.exists())
    finally:
        _kill(int(server.name))


POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from costmodel.processes import end_with_parent
with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_a_worker_of_a_pool_ends_with_who_started_it():
    """Killed, it cannot tell its workers: they waited for work for ever."""
    command = [sys.executable, "-c", POOL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        os.kill(parent.pid, signal.SIGKILL)
    try:
        until(lambda: not Path(f"/proc/{worker}").exists())
    finally:
        _kill(worker)


def _kill(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
