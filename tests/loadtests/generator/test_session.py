"""One process's share of a load test: what leaves late is late, whoever made it so."""

import socket
import threading
import time

import gevent
import numpy as np

from loadtests.generator.schedule import Schedule
from loadtests.generator.session import Session
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec

REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n" + b'{"label":"a"}'


def _prompt_server():
    """A server that answers whatever it reads at once; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        while connection.recv(65536):
            connection.sendall(REPLY)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_time_out_counts_from_the_instant():
    """Ten seconds late with a time-out of five: timed out, though the server answers at once."""
    spec = LoadSpec(url=_prompt_server(), inputs="x", rate=1, duration_s=20, timeout_s=5)
    session = Session(spec, [Row(0, "a")], Schedule(np.array([0.0, 10.2]), np.array([0, 0])))
    ended = {}
    session.send_alone(lambda _, outcome: ended.update({outcome.offset_s: outcome.failure}))
    session.walk(time.monotonic() - 10)
    while session.flying:
        gevent.sleep(0.01)
    assert ended == {0.0: "timeout", 10.2: None}
