"""Fixtures that every folder of tests may use."""

import os
import re
import signal
import socket

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(scope="session")
def free_port_of():
    """A function that returns a loopback port nobody listens on."""
    return _free_port


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
