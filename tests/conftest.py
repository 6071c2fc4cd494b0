"""Fixtures that every folder of tests may use."""

import socket

import pytest


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def free_port_of():
    """A function that returns a loopback port nobody listens on."""
    return _free_port
