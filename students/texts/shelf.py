"""Where the kept texts of a task are: with this host, or in the database with those of all hosts.

This is the one place that decides it; commands read and forget without knowing which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from students.errors import BadTask
from students.task import Task
from students.texts.cipher import TextCipher
from students.texts.fleet import FleetShelf
from students.texts.store import TEXTS_FILE, KeptText, forget, read_texts, recognised_of

DATABASE_URL = "RAISEHAND_DATABASE_URL"


class TextShelf(Protocol):
    """Kept texts, to be read and forgotten.

    Raises:
        BadTask: from every method, when they cannot be had.
    """

    def read(self, cipher: TextCipher, task: str) -> Iterator[KeptText]:
        """Yield the kept texts of a task, the oldest first."""
        ...

    def forget(
        self, task: str, *, request_ids: Sequence[str] = (), recognised: Sequence[str] = ()
    ) -> int:
        """Delete texts by request id and by what recognises them; say how many."""
        ...

    def recognised_of(self, task: str, request_ids: Sequence[str]) -> list[str]:
        """Return what recognises the texts of these requests."""
        ...


class FileShelf:
    """The texts in one host's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, cipher: TextCipher, task: str) -> Iterator[KeptText]:
        """Yield the kept texts of a task, the oldest first."""
        return read_texts(self._path, cipher, task)

    def forget(
        self, task: str, *, request_ids: Sequence[str] = (), recognised: Sequence[str] = ()
    ) -> int:
        """Delete texts by request id and by what recognises them; say how many."""
        return forget(self._path, task, request_ids=request_ids, recognised=recognised)

    def recognised_of(self, task: str, request_ids: Sequence[str]) -> list[str]:
        """Return what recognises the texts of these requests."""
        return recognised_of(self._path, task, request_ids)


class BothShelves:
    """The texts of all hosts, and those of this one that are not there yet."""

    def __init__(self, fleet: FleetShelf, file: FileShelf) -> None:
        self._fleet = fleet
        self._file = file

    def read(self, cipher: TextCipher, task: str) -> Iterator[KeptText]:
        """Yield the texts of all hosts, the oldest first."""
        return self._fleet.read(cipher, task)

    def forget(
        self, task: str, *, request_ids: Sequence[str] = (), recognised: Sequence[str] = ()
    ) -> int:
        """Delete them in both places."""
        gone = self._fleet.forget(task, request_ids=request_ids, recognised=recognised)
        with suppress(BadTask):  # this host keeps none
            gone += self._file.forget(task, request_ids=request_ids, recognised=recognised)
        return gone

    def recognised_of(self, task: str, request_ids: Sequence[str]) -> list[str]:
        """Return what recognises the texts of these requests."""
        found = self._fleet.recognised_of(task, request_ids)
        with suppress(BadTask):
            found += self._file.recognised_of(task, request_ids)
        return list(dict.fromkeys(found))


def open_shelf(task: Task, environment: Mapping[str, str] = os.environ) -> TextShelf:
    """Return where the texts of a task are kept."""
    file, url = FileShelf(task.work_dir / TEXTS_FILE), environment.get(DATABASE_URL)
    return BothShelves(FleetShelf(url), file) if url else file
