"""The generator's connections: what dies idle is opened anew, once, and nothing else is retried."""

import socket
import ssl
import subprocess
import sys
import threading

import pytest

CLIENT = """
from gevent import monkey; monkey.patch_all()
import json, sys, time
from loadtests.generator.connection import ConnectionLost, Connections
url, pause, n = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
connections = Connections(url, "/", {})
done = []
for i in range(n):
    try:
        done.append(connections.post(b"{}", 5.0).status)
    except ConnectionLost as error:
        done.append(str(error))
    time.sleep(pause)
print(json.dumps([done, connections.reopened]))
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


class Server:
    """Answers on each connection `answers` times, then closes as it is told to."""

    def __init__(self, tls, answers, closing):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls, self._answers, self._closing = tls, answers, closing
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            raw, _ = self._listener.accept()
            self.connections += 1
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        connection = self._tls.wrap_socket(raw, server_side=True) if self._tls else raw
        for _ in range(self._answers):
            if not connection.recv(65536):
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        if self._closing == "on the next request":  # the race: it is closed while one is on its way
            connection.recv(65536)
        connection.close()


def _ask(server, scheme, environment, *, pause, n):
    import json
    import os

    done = subprocess.run(
        [sys.executable, "-c", CLIENT, f"{scheme}://127.0.0.1:{server.port}", str(pause), str(n)],
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("closing", ["at once", "on the next request"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_died_idle_is_no_failure(scheme, closing, certificate):
    """Closed between two requests, or just as the second was sent: a new one is opened, once."""
    context = None
    if scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = Server(context, answers=1, closing=closing)
    trusted = {"SSL_CERT_FILE": str(certificate[0])}
    statuses, reopened = _ask(server, scheme, trusted, pause=0.1, n=4)
    assert statuses == [200] * 4
    assert reopened == (3 if closing == "on the next request" else 0)


def test_a_fresh_connection_is_never_tried_again():
    """A server that closes without an answer gets one connection for each request."""
    server = Server(None, answers=0, closing="on the next request")
    statuses, reopened = _ask(server, "http", {}, pause=0, n=3)
    assert reopened == 0
    assert [type(s) for s in statuses] == [str] * 3
    assert server.connections == 3
