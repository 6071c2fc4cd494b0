"""What a cluster's processes do: read a file's texts in chunks, and let a student answer them.

A chunk is one row of an Arrow table on its way, so that nobody cuts it or joins it with another.
Only texts go to a student and only answers come back: the rows themselves are read once more by
whoever writes them.
"""

from __future__ import annotations

import socket
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.errors import CostModelError
from costmodel.ray_cluster import require_version
from router.batch.tables.chunk import Arrow
from router.batch.tables.sources import Source
from students.errors import StudentsError
from students.runtime.bundle import read_bundle
from students.runtime.columns import ColumnAnswers, TextColumn, answer_column
from students.runtime.load import load_student
from students.runtime.protocol import Student

_NOTHING = ColumnAnswers(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.bool_))


@dataclass(frozen=True, eq=False)
class TextsWanted:
    """How every file is read: the same as where answers are written.

    Attributes:
        column: of the texts; `at_once`: rows of a chunk.
        version: of this program where the work is driven; another one might read in other ways.
    """

    source: Source
    column: str
    at_once: int
    version: str


def read_texts(files: Arrow, wanted: TextsWanted) -> Iterator[Arrow]:
    """Yield the chunks of some files' texts; a file that cannot be read is a row that says so.

    Args:
        files: table with the place of each file in the source, and how many of its chunks are
            left out.
        wanted: what to read of it.
    """
    for place, skipped in zip(*(files[name].to_pylist() for name in ("file", "skip")), strict=True):
        chunk = 0
        try:
            require_version(wanted.version)
            with tempfile.TemporaryDirectory(prefix="raisehand-") as room:
                file = wanted.source.files[place]
                for rows in wanted.source.read(file, wanted.column, wanted.at_once, Path(room)):
                    if chunk >= skipped:
                        yield _texts_row(place, chunk, rows.texts)
                    chunk += 1
        except (CostModelError, OSError) as error:
            yield _texts_row(place, chunk, None, f"on {socket.gethostname()}: {error}")


class StudentWorker:
    """One student in a process of its own.

    Args:
        files: the bundle's, by name; they come with the work, from no shared disk.
        device: `cpu` or `cuda`.
    """

    def __init__(self, files: Mapping[str, bytes], device: str) -> None:
        self._student: Student | None = None
        self._fault = ""
        try:
            self._student = _unpacked(files, device)
        except (StudentsError, OSError) as error:
            self._fault = f"on {socket.gethostname()}: {error}"

    def __call__(self, chunks: Arrow) -> Arrow:
        """Answer chunks of texts, in order."""
        import pyarrow as pa

        columns = (chunks[name] for name in ("file", "chunk", "texts", "fault"))
        return pa.concat_tables(
            self._answered(place.as_py(), chunk.as_py(), texts.values, fault.as_py())
            for place, chunk, texts, fault in zip(*columns, strict=True)
        )

    def _answered(self, place: int, chunk: int, texts: Arrow, fault: str) -> Arrow:
        if fault or self._student is None:
            return _answers_row(place, chunk, _NOTHING, 0, fault or self._fault)
        column = TextColumn(texts)
        return _answers_row(place, chunk, answer_column(self._student, column), digest(column), "")


def digest(column: TextColumn) -> int:
    """Return what tells one chunk of texts from another."""
    start, end = column.offsets[0], column.offsets[-1]
    sizes = zlib.crc32(np.diff(column.offsets).tobytes())
    return zlib.crc32(column.data[start:end].tobytes(), sizes)


def said_in(row: Mapping[str, Any]) -> ColumnAnswers:
    """Return the answers that a row of a worker's brings."""
    return ColumnAnswers(
        np.frombuffer(row["labels"], np.int64).copy(),
        np.frombuffer(row["confidences"], np.float32).copy(),
        np.frombuffer(row["empty"], np.bool_).copy(),
    )


def _answers_row(place: int, chunk: int, said: ColumnAnswers, told: int, fault: str) -> Arrow:
    import pyarrow as pa

    columns = {"labels": said.labels, "confidences": said.confidences, "empty": said.empty}
    laid = {
        name: pa.array([np.asarray(x).tobytes()], pa.large_binary()) for name, x in columns.items()
    }
    return pa.table({"file": [place], "chunk": [chunk], **laid, "digest": [told], "fault": [fault]})


def _texts_row(place: int, chunk: int, texts: Arrow, fault: str = "") -> Arrow:
    import pyarrow as pa

    values = pa.array([], pa.large_string()) if texts is None else texts.cast(pa.large_string())
    return pa.table(
        {
            "file": [place],
            "chunk": [chunk],
            "texts": pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values),
            "fault": [fault],
        }
    )


def _unpacked(files: Mapping[str, bytes], device: str) -> Student:
    with tempfile.TemporaryDirectory(prefix="raisehand-") as made:
        folder = Path(made)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return load_student(read_bundle(folder), device)
