"""The generator's connections: what dies idle is opened anew, once, and nothing else is retried."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from loadtests.errors import BadLoadSpec
from loadtests.inputs.route import route_of
from loadtests.inputs.spec import load_spec

CLIENT = """
from gevent import monkey; monkey.patch_all()
import json, sys, time
from loadtests.generator.connection import Connections
from loadtests.generator.reply import HttpReply
from loadtests.inputs.route import route_of
from loadtests.inputs.spec import LoadSpec
url, pause, n = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
spec = LoadSpec(url=url, inputs="x", rate=1, **json.loads(sys.argv[4]))
connections = Connections(route_of(spec), "/", {}, spec.client)
done = []
for i in range(n):
    found = connections.post(b"{}", 5.0)
    done.append(found.status if isinstance(found, HttpReply) else found.words)
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

    def __init__(self, tls, answers, closing, path=None):
        self.path = path
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
        self._tls, self._answers, self._closing = tls, answers, closing
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            raw, _ = self._listener.accept()
            self.connections += 1
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        try:
            connection = self._tls.wrap_socket(raw, server_side=True) if self._tls else raw
        except ssl.SSLError:  # the client does not trust it, or shows nothing
            return
        for _ in range(self._answers):
            if not connection.recv(65536):
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        if self._closing == "on the next request":  # the race: it is closed while one is on its way
            connection.recv(65536)
        connection.close()


def _ask(server, scheme, environment, *, pause, n, **settings):
    url = f"{scheme}://127.0.0.1:{server.port}" if scheme != "unix" else f"unix://{server.path}"
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, url, str(pause), str(n), json.dumps(settings)],
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


def _tls(certificate, clients=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_ones_own_authority_and_no_check_at_all(certificate):
    """An unknown certificate is a failure; with `ca` or `insecure` it is not."""
    server = Server(_tls(certificate), answers=9, closing="at once")
    statuses, _ = _ask(server, "https", {}, pause=0, n=1)
    assert "CERTIFICATE_VERIFY_FAILED" in statuses[0]
    for settings in ({"ca": str(certificate[0])}, {"insecure": True}):
        assert _ask(server, "https", {}, pause=0, n=2, **settings) == [[200, 200], 0]


def test_a_certificate_of_the_client(certificate):
    """A target that wants to see one sees the one that is named."""
    cert, key = map(str, certificate)
    server = Server(_tls(certificate, clients=cert), answers=9, closing="at once")
    shown = {"ca": cert, "client_cert": cert, "client_key": key}
    assert _ask(server, "https", {}, pause=0, n=2, **shown) == [[200, 200], 0]
    statuses, _ = _ask(server, "https", {}, pause=0, n=1, ca=cert)
    assert isinstance(statuses[0], str)


def test_a_unix_socket(tmp_path):
    """unix:// and a path: the same requests, over a socket file."""
    server = Server(None, answers=9, closing="at once", path=tmp_path / "s")
    assert _ask(server, "unix", {}, pause=0, n=3) == [[200, 200, 200], 0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "http://127.0.0.1:1", "insecure": True}, "the target is not https"),
        ({"url": "https://127.0.0.1:1", "ca": "/none.pem"}, "there is no file /none.pem"),
        ({"url": "https://127.0.0.1:1", "client_key": "/x"}, "belongs to a client_cert"),
        ({"url": "unix://host/path"}, "a Unix socket is unix:// and its path"),
        ({"url": "ftp://127.0.0.1"}, "an http://, https:// or unix:// URL is needed"),
    ],
)
def test_what_cannot_be_reached_is_refused(settings, words):
    """One sentence says what is wrong."""
    with pytest.raises(BadLoadSpec, match=words):
        load_spec(inputs="x", rate=1, **settings)


def test_a_file_that_is_no_certificate_is_refused(tmp_path):
    """The file is named."""
    (tmp_path / "ca.pem").write_text("nonsense")
    spec = load_spec(inputs="x", rate=1, url="https://127.0.0.1:1", ca=tmp_path / "ca.pem")
    with pytest.raises(BadLoadSpec, match=r"ca\.pem cannot be used"):
        route_of(spec)
