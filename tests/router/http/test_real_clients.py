"""The HTTP clients people have, as they come: each writes head and body in its own way."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from router.process.server import Admin, bind, express_lane
from router.settings import Settings
from tests.waiting import PATIENCE_S

CLIENTS = Path(__file__).parent / "clients"
BODY = '{"text": "help"}'
COMMANDS = {
    "java": ["java", CLIENTS / "Client.java", "{url}"],
    "go": ["go", "run", CLIENTS / "client.go", "{url}"],
    "node": ["node", CLIENTS / "client.mjs", "{url}"],
    "python": [sys.executable, CLIENTS / "client.py", "{url}"],
    "curl": ["curl", "-sS", "-w", "\n%{http_code}\n", "-d", BODY, "{url}"],
    "curl --http2": ["curl", "-sS", "--http2", "-w", "\n%{http_code}\n", "-d", BODY, "{url}"],
    "curl chunked": [
        "curl", "-sS", "-H", "transfer-encoding: chunked", "-w", "\n%{http_code}\n", "-d", BODY,
        "{url}",
    ],
    "curl expect": [
        "curl", "-sS", "-H", "expect: 100-continue", "-w", "\n%{http_code}\n", "-d", BODY, "{url}",
    ],
    "curl --http1.0": ["curl", "-sS", "--http1.0", "-w", "\n%{http_code}\n", "-d", BODY, "{url}"],
}  # fmt: skip


@pytest.mark.e2e
@pytest.mark.parametrize("name", COMMANDS)
async def test_a_client_as_it_comes_is_answered_by_the_student_on_the_lane(rig, name, tmp_path):
    """Every request of it is a 200, and none of them needed the application."""
    program = {"java": "javac"}.get(name, COMMANDS[name][0])  # the compiler runs a source file
    if shutil.which(program) is None:
        pytest.skip(f"no {program} is installed")  # CI takes no such excuse: .ci/run
    made = await rig(settings=Settings())
    listener = bind("127.0.0.1", 0)
    server = Admin(made.app, listener, Settings(), express_lane(made.service))
    server.start()
    made.app.edge = None  # the application would find no hot path
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/classify"
    process = await asyncio.create_subprocess_exec(
        *(str(part).format(url=url) if part == "{url}" else part for part in COMMANDS[name]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"GOCACHE": str(tmp_path), "GO111MODULE": "off"},
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    await server.stop()
    statuses = [line for line in out.decode().splitlines() if not line.startswith("{")]
    assert statuses, err.decode()
    assert set(statuses) == {"200"}, (out, err)
    assert len(made.ledger.entries) == len(statuses)
