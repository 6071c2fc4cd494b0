"""Where answers go: parts by chunk in a folder beside OUT, and OUT whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path, PurePosixPath
from types import ModuleType

from costmodel.errors import BadTable
from router.batch.tables.chunk import FIELDS, AnswerColumns, RowsRead
from router.batch.tables.packed import PACKED
from router.batch.tables.sources import Source, fetched, file_system, is_url, suffix_of

_PARTS = "parts"


class Output:
    """The answered table in the making.

    Args:
        name: a file of the input's kind, or a folder (no suffix); on this machine or a URL.
        source: what is answered.
        prefix: before the names of the columns that are added.
        work_dir: where the parts of a remote OUT lie until it is whole.

    Raises:
        BadTable: OUT is there already, or of another kind than the input.
    """

    def __init__(self, name: str, source: Source, prefix: str, work_dir: Path) -> None:
        self.name = name
        self._kind: ModuleType = source.kind
        self._names = [prefix + field for field in FIELDS]
        self._suffix = suffix_of(name)
        self._remote = is_url(name)
        if self._suffix and self._suffix not in source.kind.SUFFIXES:
            raise BadTable(
                f"OUT is {name}, and answers keep the kind of the table: name a file that ends "
                f"with {source.suffix}, or a folder"
            )
        if self._remote:
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            self.folder = work_dir / "batch" / f"{digest}.partial"
        else:
            path = Path(name)
            self.folder = path.with_name(f"{path.name}.partial")
        packed = PACKED if name.endswith(PACKED) else ""
        self._part_suffix = (self._suffix or source.suffix) + packed
        if not self.folder.exists() and self._exists():
            raise BadTable(f"{name} is there already; remove it, or name another OUT")

    @property
    def is_file(self) -> bool:
        """Whether all answers go into one file."""
        return bool(self._suffix)

    def write(self, number: int, rows: RowsRead, answers: AnswerColumns) -> None:
        """Write the part of a chunk; when this returns it is on the disk, whole."""
        folder = self.folder / _PARTS
        folder.mkdir(parents=True, exist_ok=True)
        part = self._part(number)
        draft = part.with_name(f"_{part.name}")
        headed = not self.is_file or number == 0
        self._kind.write_part(rows, answers, self._names, draft, headed)
        _sync(draft)
        draft.replace(part)
        _sync(folder)

    def publish(self, chunks: int) -> None:
        """Put OUT where it belongs, from all its parts; doing it again changes nothing."""
        parts = [self._part(number) for number in range(chunks)]
        if self.is_file:
            whole = self.folder / f"whole{self._part_suffix}"
            self._kind.merge_parts(parts, whole)
            _sync(whole)
            if self._remote:
                _upload(whole, self.name)
            else:
                whole.replace(self.name)
        elif self._remote:
            for part in parts:
                _upload(part, f"{self.name.rstrip('/')}/{part.name}")
        elif parts[0].exists():
            for odd in set((self.folder / _PARTS).iterdir()) - set(parts):
                odd.unlink()  # a draft that a kill left behind
            (self.folder / _PARTS).replace(self.name)

    def forget(self) -> None:
        """Remove what was only needed until OUT was whole."""
        done = self.folder.with_name(f"{self.folder.name}.done")
        self.folder.replace(done)
        shutil.rmtree(done, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self.folder / _PARTS / f"{number:06d}{self._part_suffix}"

    def _exists(self) -> bool:
        if not self._remote:
            return Path(self.name).exists()
        fs, path = file_system(self.name)
        return bool(fetched(self.name, lambda: fs.exists(path)))


def _upload(path: Path, name: str) -> None:
    fs, target = file_system(name)
    fetched(name, lambda: fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True))
    fetched(name, lambda: fs.put_file(str(path), target))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
