"""Listening on a Unix socket."""

import pytest
from click.testing import CliRunner

from router.cli import main
from router.errors import BadSettings
from router.process.server import address_of
from router.process.unix_socket import bind_unix


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    """What a killed process left behind keeps nobody out."""
    path = tmp_path / "s"
    first = bind_unix(path)
    assert address_of(first) == f"unix:{path}"
    first.listen()
    with pytest.raises(BadSettings, match="another process listens"):
        bind_unix(path)
    first.close()
    bind_unix(path).close()


@pytest.mark.parametrize("name", ["file", "missing/s", "x" * 120])
def test_a_path_that_cannot_be_a_socket_is_refused_and_left_alone(tmp_path, name):
    """A file that is there is not removed."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadSettings, match="give --uds a path"):
        bind_unix(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "also", [["--host", "::"], ["--port", "1"], ["--workers", "2"], ["--engine", "shared"]]
)
def test_what_a_unix_socket_cannot_do_is_refused(tmp_path, also):
    """One sentence instead of an option without effect."""
    done = CliRunner().invoke(main, ["serve", "--uds", str(tmp_path / "s"), *also])
    assert isinstance(done.exception, BadSettings)
    assert "--uds" in str(done.exception)
