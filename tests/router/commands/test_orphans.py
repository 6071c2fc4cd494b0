"""A demo that is killed leaves no server behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.e2e

DEMO = """
import sys, time
sys.path.insert(0, {examples!r})
from pathlib import Path
from servers import free_port, running
port = free_port()
with running(
    {arguments!r} + ["--port", str(port)],
    ready_url=f"http://127.0.0.1:{{port}}{ready}", log=Path({log!r}),
) as process:
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_a_router_ends_with_the_demo_that_started_it(tmp_path, folder):
    """Killed with SIGKILL, the demo cannot stop anybody; its router hears it all the same."""
    code = DEMO.format(
        examples=str(ROOT / "examples"),
        arguments=["serve", "--task", str(folder / "task.yaml")],
        ready="/readyz",
        log=str(tmp_path / "log"),
    )
    demo = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    server = int(demo.stdout.readline())
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait()
    until(lambda: not Path(f"/proc/{server}").exists() or "Z" in _state(server))


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"
