"""Connections end, whatever the other side does."""

import socket
import threading

import psycopg
import pytest

from router.database import connection as connections
from router.database.connection import connect, transaction


class Proxy:
    """Passes bytes on until it hangs: then it takes them, and says nothing, as a stopped server."""

    def __init__(self, port):
        self._port = port
        self._hangs = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        while True:
            try:
                data = one.recv(65_536)
                if not data:
                    return
                if not self._hangs.is_set():
                    other.sendall(data)
            except OSError:
                return

    def hang(self):
        """From now on."""
        self._hangs.set()

    def close(self):
        """Let go of all."""
        for each in self._open:
            each.close()


@pytest.fixture
def proxy(postgres):
    """A proxy before the session's server."""
    made = Proxy(postgres.port)
    yield made
    made.close()


def test_a_server_that_hangs_is_left(proxy, postgres, empty_database, monkeypatch):
    """No byte comes and none is refused: the transaction fails all the same, and soon."""
    monkeypatch.setattr(connections, "CONNECT_S", 1)
    url = empty_database.replace(f":{postgres.port}/", f":{proxy.port}/")
    with connect(url, "test") as connection:
        with transaction(connection, 5.0):
            assert connection.execute("select 1").fetchone() == (1,)
        proxy.hang()
        with pytest.raises(psycopg.OperationalError), transaction(connection, 0.1):
            connection.execute("select 1")


def test_limits_hold_for_the_transaction_only(empty_database):
    """A statement that takes too long is ended by the server; the session keeps no limit."""
    with connect(empty_database, "test") as connection:
        with pytest.raises(psycopg.errors.QueryCanceled), transaction(connection, 0.05):
            connection.execute("select pg_sleep(5)")
        assert connection.execute("show statement_timeout").fetchone() == ("0",)
        name = connection.execute("show application_name").fetchone()[0]
    assert name.startswith("raisehand ")
