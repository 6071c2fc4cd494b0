"""Fixtures that every folder of tests may use."""

import os
import re
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from costmodel.processes import free_port
from router.bench.servers.postgres import PostgresServer, postgres_binaries
from router.database.migrate import migrate

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background so; every command under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Ray lets everybody else go first, so that its workers starve among tests that run at once.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 Ray spells it so

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


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
    return free_port


@pytest.fixture(scope="session")
def make_postgres():
    """A function that starts a PostgreSQL for a test that wants to kill it."""
    if postgres_binaries() is None:
        pytest.skip("no psql is installed")  # as .ci/run names what it could not install
    servers = []

    def make(**settings):
        servers.append(PostgresServer(**({"shared_buffers": "32MB", "fsync": "off"} | settings)))
        return servers[-1].start()

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
