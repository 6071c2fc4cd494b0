"""The one reader of rows: every command reads the same files the same way.

    table = read_table(Path("tickets.csv.gz"), ["text", "gold"])
    texts, gold = table.texts("text"), table.words("gold")

The kind is told by the name, compression and byte order marks by the content.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from costmodel.errors import BadTable
from costmodel.inputs.tables import columnar, decoding, delimited, jsons
from costmodel.inputs.tables.table import Table, TablePart

T = TypeVar("T")
FORMATS = (
    ".csv, .tsv, .jsonl, .ndjson, .json, .txt (a text a line), each also compressed (.gz, .bz2, "
    ".xz, .zst), .parquet, .arrow, .feather, a folder of such files, or one that "
    "Dataset.save_to_disk wrote"
)


def read_table(
    path: Path, names: Sequence[str], *, encoding: str = "utf-8", delimiter: str | None = None
) -> Table:
    """Read the named columns, row by row as the file has them.

    Args:
        path: a file or a folder of files of one kind, which are read in order of their names.
        names: columns; `a.b` is also b within the records of a.
        encoding: of text that does not begin with a byte order mark.
        delimiter: of .csv and .tsv; None takes the one under which the header has the names.

    Raises:
        BadTable: missing or unreadable file, unknown kind, missing or doubled column, a row that is
            not like the header; names file and line, what was found and what to do.
    """
    if not path.exists():
        raise BadTable(f"{path} does not exist; name your file of real inputs")
    wanted = list(dict.fromkeys(names))
    if path.is_dir() and columnar.is_saved(path):
        return Table((guarded(path, lambda: columnar.read_saved(path, wanted)),))
    files = files_in(path) if path.is_dir() else [path]
    return Table(tuple(_read_file(file, wanted, encoding, delimiter) for file in files))


def _read_file(path: Path, names: list[str], encoding: str, delimiter: str | None) -> TablePart:
    kind = kind_of(path)
    if kind is None:
        raise BadTable(f"{path} is of no known kind; inputs are {FORMATS}")
    if delimiter is not None and kind not in (".csv", ".tsv"):
        raise BadTable(f"{path} has no delimiter; leave it out")
    return guarded(path, lambda: _READERS[kind](path, names, encoding, delimiter))


def guarded(path: Path, read: Callable[[], T]) -> T:
    """Read something of a file; whatever it raises about the file is one sentence.

    Raises:
        BadTable: the file cannot be read.
    """
    try:
        return read()
    except (OSError, ValueError, LookupError, EOFError, zlib.error, lzma.LZMAError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise BadTable(f"{path} cannot be read: {words}") from None


def kind_of(path: Path) -> str | None:
    """Return the suffix that tells the kind, in lower case and without that of the compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in decoding.COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in _READERS else None


def files_in(folder: Path) -> list[Path]:
    """Return the tables of a folder, in order of their names.

    Raises:
        BadTable: there is none, or they are of several kinds.
    """
    files = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith((".", "_")) and kind_of(file)
    )
    kinds = sorted({kind_of(file) or "" for file in files})
    if len(kinds) > 1:
        raise BadTable(f"{folder} holds files of the kinds {', '.join(kinds)}; name one of them")
    if not files:
        inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        raise BadTable(
            f"{folder} is a folder without a table in it, nor was it written by save_to_disk"
            + (f"; it holds the folders {', '.join(inner[:5])}: name one" if inner else "")
        )
    return files


def _delimited(path: Path, names: list[str], encoding: str, delimiter: str | None) -> TablePart:
    usual = "\t" if kind_of(path) == ".tsv" else ","
    with decoding.opened(path, encoding, newline="") as stream:
        return delimited.read_delimited(path, stream, names, delimiter, usual)


def _lines(path: Path, names: list[str], encoding: str, _: str | None) -> TablePart:
    with decoding.opened(path, encoding) as stream:
        return delimited.read_lines(path, stream, names)


def _json(path: Path, names: list[str], encoding: str, _: str | None) -> TablePart:
    with decoding.opened(path, encoding) as stream:
        return jsons.read_json(path, stream, names)


def _parquet(path: Path, names: list[str], *_: str | None) -> TablePart:
    return columnar.read_parquet(path, names)


def _arrow(path: Path, names: list[str], *_: str | None) -> TablePart:
    return columnar.read_arrow(path, names)


_READERS: dict[str, Callable[[Path, list[str], str, str | None], TablePart]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".txt": _lines,
    ".json": _json,
    ".jsonl": _json,
    ".ndjson": _json,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
