"""A peer that is not there is skipped with what to do about it."""

import sys
from pathlib import Path

import pytest

from loadtests.bench.peers import PEERS, _environment, _missing

BY_NAME = {peer.name: peer for peer in PEERS}


@pytest.fixture
def environment(tmp_path):
    """An environment with a Python that has nothing of the peers in it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def test_missing_environment_says_how_to_make_it(tmp_path):
    """Without the environment every peer is skipped with the two commands that build it."""
    for peer in PEERS:
        why = _missing(peer, tmp_path / "none", None)
        assert "python -m venv" in why
        assert peer.package in why


def test_missing_package_is_named(environment):
    """A module that cannot be imported there, or an executable that is not there, is named."""
    assert "litserve cannot be imported" in _missing(BY_NAME["litserve"], environment, Path("m"))
    assert "vllm-router" in _missing(BY_NAME["vllm-router"], environment, None)


def test_installed_peer_is_not_skipped(environment):
    """An executable in its place is enough for a router."""
    (environment / "bin" / "vllm-router").touch()
    assert _missing(BY_NAME["vllm-router"], environment, None) is None


def test_own_environment_is_looked_at_first(environment):
    """What is installed for one peer alone is used; else the shared one, if the peer is there."""
    router = BY_NAME["vllm-router"]
    own = environment.with_name(f"{environment.name}-vllm-router")
    assert _environment(router, environment) == own
    (environment / "bin" / "vllm-router").touch()
    assert _environment(router, environment) == environment
    own.mkdir()
    assert _environment(router, environment) == own


def test_every_package_is_pinned():
    """A ratio is of one version."""
    for peer in PEERS:
        assert all("==" in package for package in peer.package.split())


def test_peers_scripts_stand_in_the_checkout():
    """Every script that a peer runs exists and compiles."""
    for peer in PEERS:
        if peer.command[0] == "{python}":
            compile(Path(peer.command[1]).read_text(), peer.command[1], "exec")
