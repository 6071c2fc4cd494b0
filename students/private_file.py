"""Files that hold what is nobody else's: made readable for their owner only."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def make_private(path: Path) -> None:
    """Make an empty file with its folder, for SQLite to fill; one that is there is not touched.

    Opened and closed beside SQLite, a file loses the locks that this process holds on it: another
    process that closes the file then takes itself for the last one and deletes the log of a
    database that is being written to, and every later row is lost.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def make_secret(path: Path, content: bytes) -> None:
    """Make a file with its content in one step, for its owner only; one that is there stays.

    Whoever comes first makes it, of processes, threads and hosts that share the folder; none ever
    reads a half of it.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
