"""The ways in which clients bring requests, and the closed loop, seen from a server's side."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from loadtests.errors import BadLoadSpec
from loadtests.inputs.request import wanted_of
from loadtests.inputs.spec import LoadSpec, load_spec
from loadtests.workers.workers import run_load
from tests.waiting import PATIENCE_S

CLIENT = """
from gevent import monkey; monkey.patch_all()
import sys
from loadtests.generator.connection import Connections
from loadtests.inputs.route import route_of
from loadtests.inputs.spec import LoadSpec
spec = LoadSpec(url=sys.argv[1], inputs="x", rate=1, client=sys.argv[2])
connections = Connections(route_of(spec), "/", {}, spec.client)
for _ in range(20):
    assert connections.post(b'{"text": "a"}', 5.0).status == 200
"""
BODY = b'{"label":"one"}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Recorder:
    """Answers whole requests and remembers what came in one piece, and on how many connections."""

    def __init__(self, patience_s=0.0):
        self._patience_s = patience_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.pieces, self.connections, self.heads = [], 0, []
        self.open = self.most_open = self.asked = self.most_asked = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with self._lock:
            self.connections += 1
            self.open += 1
            self.most_open = max(self.open, self.most_open)
        buffer = b""
        while piece := connection.recv(65536):
            self.pieces.append(piece)
            buffer += piece
            head, end, body = buffer.partition(b"\r\n\r\n")
            head = head.lower()
            if end and len(body) >= int(head.rpartition(b"content-length: ")[2].split(b"\r")[0]):
                self.heads.append(head)
                self._ask(1)
                time.sleep(self._patience_s)
                self._ask(-1)
                connection.sendall(REPLY)
                buffer = b""
        with self._lock:
            self.open -= 1

    def _ask(self, change):
        with self._lock:
            self.asked += change
            self.most_asked = max(self.asked, self.most_asked)


def _twenty(way):
    server = Recorder()
    subprocess.run(
        [sys.executable, "-c", CLIENT, server.url, way],
        env=os.environ,
        check=True,
        timeout=PATIENCE_S,
    )
    return server


def test_head_and_body_come_together():
    """whole: one write, one connection, which is kept."""
    server = _twenty("whole")
    assert len(server.pieces) == 20
    assert server.connections == 1


def test_the_body_comes_by_itself():
    """apart: the server sees heads that end where the body begins; the connection is kept."""
    for _ in range(5):  # a server that gets no processor meanwhile reads both at once
        server = _twenty("apart")
        if b'{"text": "a"}' in server.pieces:
            break
    assert any(piece.endswith(b"\r\n\r\n") for piece in server.pieces)
    assert b'{"text": "a"}' in server.pieces
    assert server.connections == 1


def test_each_request_has_a_connection_of_its_own():
    """fresh: as many connections as requests, and each says that it will be closed."""
    server = _twenty("fresh")
    assert server.connections == 20
    assert all(b"connection: close" in head for head in server.heads)


@pytest.mark.e2e
def test_a_closed_loop_keeps_so_many_clients_busy(rows):
    """Three clients: never more than three connections, and everything that was sent is counted."""
    server = Recorder()
    spec = LoadSpec(
        url=server.url, inputs=rows, rate=1, closed_loop=3, duration_s=1, warmup_s=0.2,
        max_send_lag_ms=60_000, max_generator_cpu=1.0,
    )  # fmt: skip
    report = run_load(spec)
    assert report.passed, report.faults
    assert report.scheduled == report.sent == report.succeeded > 20
    assert server.most_open <= 4  # the fourth is the one that tries the target
    assert len(server.heads) == report.sent + report.unmeasured_sent


@pytest.mark.e2e
def test_clients_that_processes_cannot_share_evenly_are_all_there(rows):
    """Seven clients in two processes: four and three, so that seven requests are open at a time."""
    server = Recorder(patience_s=0.3)
    spec = LoadSpec(
        url=server.url, inputs=rows, rate=1, closed_loop=7, processes=2, duration_s=1.5, warmup_s=0,
        max_send_lag_ms=60_000, max_generator_cpu=1.0,
    )  # fmt: skip
    assert run_load(spec).passed
    assert server.most_asked == 7


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"closed_loop": 1, "processes": 2}, "1 clients in 2 processes"),
        ({"closed_loop": 3000}, "has at most 2000"),
        ({"closed_loop": 7, "processes": 2, "concurrency": 3}, "has at most 3"),
        ({"closed_loop": 2, "abort": "lost"}, "answers decide when the next request leaves"),
        ({"closed_loop": 2, "shape": {"kind": "ramp"}}, "answers decide"),
        ({"client": "slow"}, "'whole', 'apart' or 'fresh'"),
    ],
)
def test_what_no_client_can_do_is_refused(settings, words):
    """One sentence says what is wrong."""
    with pytest.raises(BadLoadSpec, match=words):
        load_spec(url="http://127.0.0.1:1", inputs="x", rate=1, **settings)


@pytest.mark.parametrize("conclusion", [{"p99_ms": 5.0}, {"knee": True}])
def test_a_closed_loop_judges_no_latency(conclusion, rows):
    """A limit on latencies, or a knee, of a loop that asks a slow target less is refused."""
    with pytest.raises(BadLoadSpec, match="asks a slow target less"):
        wanted_of({"url": "http://127.0.0.1:1", "inputs": rows, "closed_loop": 2, **conclusion})
