"""From the bytes of a file to text: compression, byte order marks, and encodings named rightly."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

from costmodel.errors import BadTable

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_HEAD = 4096
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 before UTF-16: its little-endian mark begins with the other's."""
_HINTED = ("utf-8", "cp1252")
"""Never latin-1: it decodes everything, and turns the quotes of cp1252 into control characters."""


@contextmanager
def opened(path: Path, encoding: str, newline: str | None = None) -> Iterator[TextIO]:
    """Open a file as text; what it begins with tells compression, and encoding where it is marked.

    Raises:
        BadTable: there is no such encoding, or the file is not in it; names one that fits.
    """
    try:
        "".encode(encoding)
    except (LookupError, UnicodeError):  # or no encoding of text, as rot13
        raise BadTable(
            f"there is no encoding {encoding!r}; name one that Python knows, e.g. utf-8 or cp1252"
        ) from None
    with _decompressed(path) as binary:
        head = binary.read(_HEAD)
        _refuse_no_text(path, head)
        binary.seek(0)
        found = next((name for mark, name in _MARKS if head.startswith(mark)), None)
        if found is None:
            _refuse_unmarked_utf16(path, head, encoding)
        with io.TextIOWrapper(binary, encoding=found or encoding, newline=newline) as text:
            try:
                yield text
            except UnicodeError:
                raise _not_in(path, found or encoding) from None


def _decompressed(path: Path) -> IO[bytes]:
    """Open by content: a browser may have unpacked `a.csv.gz` and kept its name."""
    with path.open("rb") as stream:
        head = stream.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if head.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(path))
    if head.startswith(b"\xfd7zXZ\0"):
        return cast("IO[bytes]", lzma.open(path))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        with pa.input_stream(str(path), compression="zstd") as unpacked:
            return io.BytesIO(unpacked.read())
    return path.open("rb")


def _refuse_no_text(path: Path, head: bytes) -> None:
    if head.startswith(b"PK\x03\x04"):
        raise BadTable(f"{path} is an Excel or zip file; save it as CSV (UTF-8) and name that")
    if head.startswith((b"PAR1", b"ARROW1")):
        raise BadTable(f"{path} is a Parquet or Arrow file; give it the suffix .parquet or .arrow")


def _refuse_unmarked_utf16(path: Path, head: bytes, encoding: str) -> None:
    """UTF-16 of plain English is valid UTF-8, with a NUL for every other character."""
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) / 8 and min(even, odd) * 4 < max(even, odd):
        found = "utf-16-le" if odd > even else "utf-16-be"
        raise BadTable(
            f"{path} is not {encoding} but {found}; set inputs.encoding (or --encoding) to {found}"
        )


def _not_in(path: Path, encoding: str) -> BadTable:
    """Name the line that cannot be decoded, and show it in an encoding in which it can be."""
    name = codecs.lookup(encoding).name
    with _decompressed(path) as binary:
        # Lines of bytes are lines of text wherever a line feed is one byte.
        lines = () if name.startswith(("utf-16", "utf-32")) else binary
        for number, line in enumerate(lines, 1):
            fault = _fault(line, encoding)
            if fault is None:
                continue
            for other in _HINTED:
                if other != name and _fault(line, other) is None:
                    cut = line[max(0, fault - 20) : fault + 20].strip()
                    shown = cut.decode(other, "replace")
                    return BadTable(
                        f"{path} line {number} is not {encoding}; as {other} it reads {shown!r}: "
                        f"if that is right, set inputs.encoding (or --encoding) to {other}, else "
                        "to what the file was saved in"
                    )
            break
    return BadTable(
        f"{path} is not {encoding}; set inputs.encoding (or --encoding) to what it was saved in, "
        "e.g. cp1251 or shift_jis"
    )


def _fault(line: bytes, encoding: str) -> int | None:
    try:
        line.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    except UnicodeError:
        return 0
    return None
