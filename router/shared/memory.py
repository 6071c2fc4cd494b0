"""The last rulings on this host's disk, for a start while the store of all hosts is away."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from router.shared.records import Ruling

FOLDER = "rulings"
"""In the work_dir."""
log = logging.getLogger(__name__)


class Memory:
    """One file for each bundle, replaced whole; workers of a host write the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, ruling: Ruling) -> None:
        """Write a ruling down; a disk that takes none is logged, it fails nothing."""
        path = self._path(ruling.task, ruling.bundle)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(msgspec.json.encode(ruling))
            partial.replace(path)
        except OSError as error:
            log.error("the ruling on bundle %s cannot be kept: %s", ruling.bundle, error)

    def last(self, task: str, bundle: str) -> Ruling | None:
        """Return the ruling that was kept; None where there is none that can be read."""
        try:
            return msgspec.json.decode(self._path(task, bundle).read_bytes(), type=Ruling)
        except (OSError, msgspec.DecodeError):
            return None

    def _path(self, task: str, bundle: str) -> Path:
        return self._folder / FOLDER / f"{task}-{bundle}.json"
