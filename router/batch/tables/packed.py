"""Files of text that are written once: compressed where their name says so, the same bytes again.

A gzip member carries no time and no name here, and members stand behind each other as one file:
parts are compressed where they are written, and merged by copying.
"""

from __future__ import annotations

import gzip
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

from costmodel.inputs.tables.decoding import COMPRESSED

PACKED = ".gz"
_LEVEL = 6


@contextmanager
def written(path: Path) -> Iterator[TextIO]:
    """Open a new file for text in UTF-8, line ends as they are written."""
    with path.open("wb") as raw:
        packed = gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) if path.suffix == PACKED else None
        stream = io.TextIOWrapper(cast("IO[bytes]", packed or raw), "utf-8", newline="")
        yield stream
        stream.flush()
        stream.detach()
        if packed is not None:
            packed.close()


def append_files(parts: Sequence[Path], out: Path) -> None:
    """Copy all parts into one file, one behind the other."""
    with out.open("wb") as whole:
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, whole, 1 << 20)


def lines_in(path: Path) -> int | None:
    """Count the lines of a file: about as many rows. None where it would have to be unpacked."""
    if path.suffix.lower() in COMPRESSED:
        return None
    lines = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            lines += block.count(b"\n")
    return lines
