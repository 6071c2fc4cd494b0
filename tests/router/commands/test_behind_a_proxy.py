"""Commands on a machine whose environment names a company's proxy."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from router.cli import spare_this_machine

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def admin_port():
    """An admin port that remembers who was asked for."""

    class Says(BaseHTTPRequestHandler):
        asked = []

        def do_GET(self):
            """Answer with an empty object."""
            self.asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET  # noqa: N815 as the library names it

        def log_message(self, *words):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Says) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Says.asked
        server.shutdown()


def test_a_command_reaches_the_admin_port_of_this_machine(admin_port):
    """Past the proxy, which could not."""
    url, asked = admin_port
    environment = {**os.environ, "HTTP_PROXY": DEAD, "http_proxy": DEAD}
    environment |= {"NO_PROXY": "intern.example", "RAISEHAND_ADMIN_TOKEN": "t"}
    environment.pop("no_proxy", None)
    command = [sys.executable, "-c", "from router.cli import run; run()"]
    command += ["candidate", "end", "t", "--admin", url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, asked) == (0, ["/tasks/t/shadow/end"]), done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, None),
        ({"NO_PROXY": "intern.example"}, "intern.example"),
        ({"HTTPS_PROXY": DEAD}, "localhost,127.0.0.1,[::1],::1"),
        ({"all_proxy": DEAD, "no_proxy": "a,b"}, "a,b,localhost,127.0.0.1,[::1],::1"),
        ({"http_proxy": DEAD, "NO_PROXY": "*"}, "*"),
    ],
)
def test_what_the_environment_says_of_no_proxy(monkeypatch, before, after):
    """What stood there stays; without a proxy nothing is added."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    spare_this_machine()
    assert (os.environ.get("NO_PROXY") or os.environ.get("no_proxy")) == after
