"""Listening on a Unix socket: who may write to the file may ask."""

from __future__ import annotations

import socket
from pathlib import Path

from router.errors import BadSettings


def bind_unix(path: Path) -> socket.socket:
    """Open a socket at `path`; one that nobody listens on any more is replaced.

    Raises:
        BadSettings: something else is there, or it cannot be made.
    """
    try:
        if path.is_socket():
            _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
    except OSError as error:
        raise BadSettings(
            f"cannot listen on {path} ({error}); give --uds a path that is free, under 100 "
            "characters, in a folder that is there"
        ) from None
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise BadSettings(f"another process listens on {path}; stop it or give another --uds")
