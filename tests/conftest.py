"""Fixtures that every folder of tests may use."""

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from router.database.migrate import migrate

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background so; every command under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pytest_addoption(parser):
    """Where tests that look at a page leave what they saw."""
    parser.addoption("--screenshots", help="Folder for pictures of pages; default: thrown away.")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A headless Chromium that every test with a page shares."""
    from tests.browser.chromium import Chromium, find_chromium

    path = find_chromium()
    if path is None:
        pytest.skip("no chromium is installed")
    browser = Chromium(path, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def screenshots(request, tmp_path):
    """The folder for pictures: docs/images for `make screenshots`, else one that goes."""
    given = request.config.getoption("--screenshots")
    return Path(given).absolute() if given else tmp_path / "screenshots"


@pytest.fixture(scope="session")
def free_port_of():
    """A function that returns a loopback port nobody listens on."""
    return _free_port


class PostgresServer:
    """A real PostgreSQL on a free port, in a folder of its own, that a test may kill.

    It runs as an unprivileged user where the tests run as root, and in a time zone that is no
    server's dream: who means UTC has to say so.
    """

    def __init__(self, binaries, port):
        self._binaries = binaries
        self.port = port
        self.url = f"postgresql://raisehand:secret-of-the-tests@127.0.0.1:{port}/raisehand"
        self._folder = Path(tempfile.mkdtemp(prefix="raisehand-postgres-"))
        self._user = {}
        if os.geteuid() == 0:
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            owner = names.get("postgres") or names["nobody"]
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        password = self._folder / "password"
        password.write_text("secret-of-the-tests", encoding="utf-8")
        subprocess.run(
            [binaries / "initdb", "-D", self._folder / "data", "-U", "raisehand", "-E", "UTF8",
             "--locale=C", "--no-sync", "-A", "scram-sha-256", f"--pwfile={password}"],
            check=True, capture_output=True, cwd=self._folder, **self._user,
        )  # fmt: skip
        self.process = None

    def start(self, **settings):
        """Start, or start again after a kill, and wait until it answers."""
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
            "shared_buffers": "32MB", "fsync": "off", "timezone": "Asia/Kathmandu",
        } | settings  # fmt: skip
        command = [self._binaries / "postgres", "-D", self._folder / "data"]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        give_up_at = time.monotonic() + 60
        while True:
            if self.process is None or self.process.poll() is not None:
                with (self._folder / "log").open("ab") as log:  # killed: its children may still end
                    self.process = subprocess.Popen(
                        command, stdout=log, stderr=log, cwd=self._folder, **self._user
                    )
            try:
                self.connect("postgres").close()
                return self
            except psycopg.OperationalError:
                assert time.monotonic() < give_up_at, (self._folder / "log").read_text("utf-8")
                time.sleep(0.05)

    def kill(self):
        """End it as a power cut would, as far as one process can."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Stop it and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def connect(self, name):
        """Connect to one of its databases."""
        return psycopg.connect(self.url_of(name), autocommit=True, connect_timeout=5)

    def url_of(self, name):
        """The address of one of its databases."""
        return self.url.rsplit("/", 1)[0] + f"/{name}"

    def create(self):
        """Make an empty database and return its address."""
        name = f"test_{secrets.token_hex(4)}"
        with self.connect("postgres") as connection:
            connection.execute(f"create database {name}")
        return self.url_of(name)


@pytest.fixture(scope="session")
def make_postgres():
    """A function that starts a PostgreSQL for a test that wants to kill it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [
        Path(path) for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.skip("no postgresql is installed")
    servers = []

    def make(**settings):
        servers.append(PostgresServer(found[-1].parent, _free_port()))
        return servers[-1].start(**settings)

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def postgres(make_postgres):
    """The PostgreSQL of this session, shared by its tests: each has a `database` of its own."""
    return make_postgres()


@pytest.fixture
def empty_database(postgres):
    """Address of a database without any table."""
    return postgres.create()


@pytest.fixture
def database(empty_database):
    """Address of a database with raisehand's tables."""
    migrate(empty_database)
    return empty_database


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    """Name the skips that CI did not expect; they fail the run (see `pytest_sessionfinish`)."""
    for nodeid, reason in _unexpected(terminalreporter):
        terminalreporter.write_line(f"UNEXPECTED SKIP {nodeid}: {reason}", red=True)


def pytest_sessionfinish(session, exitstatus):
    """Fail a run whose skips are not among those of EXPECTED_SKIPS.

    CI sets it to a regular expression over reasons: a test that skips is a test that proves
    nothing, and where everything is installed none may.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and reporter is not None and _unexpected(reporter):
        session.exitstatus = 1


def _unexpected(reporter):
    expected = os.environ.get("EXPECTED_SKIPS")
    if expected is None:
        return []
    skips = [
        (report.nodeid, report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
        for report in reporter.stats.get("skipped", [])
    ]
    return [(nodeid, reason) for nodeid, reason in skips if not re.search(expected, reason)]
