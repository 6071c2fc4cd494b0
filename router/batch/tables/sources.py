"""What is to be answered: the files behind a path, a folder or a URL, and what kind they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from costmodel.errors import BadTable
from costmodel.inputs.tables.columnar import is_saved
from costmodel.inputs.tables.decoding import COMPRESSED
from costmodel.inputs.tables.read import files_in, guarded
from router.batch.tables import delimited, jsonlines, parquet
from router.batch.tables.chunk import FIELDS, USUAL, RowsRead, Spelling

KINDS = (parquet, delimited, jsonlines)
KNOWN = ".parquet, .csv, .tsv, .jsonl, .ndjson (text also compressed: .gz, .bz2, .xz, .zst)"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the input.

    Attributes:
        name: path or URL.
        size: bytes.
        version: what changes when the file does.
    """

    name: str
    size: int
    version: str

    @property
    def remote(self) -> bool:
        """Whether it is behind a URL."""
        return is_url(self.name)


@dataclass(frozen=True, eq=False)
class Source:
    """All files of the input, in order, of one kind.

    Attributes:
        kind: the module of `router.batch.tables` that reads and writes them.
        suffix: of a file written again, e.g. `.csv`.
        layout: columns and their types, of the first file.
        rows: of all files; None where they have to be read for that.
        spelling: of files of text.
    """

    files: tuple[SourceFile, ...]
    kind: ModuleType
    suffix: str
    layout: dict[str, str]
    rows: int | None
    spelling: Spelling = USUAL

    def read(self, file: SourceFile, column: str, at_once: int, room: Path) -> Iterator[RowsRead]:
        """Yield the rows of one file; one behind a URL is fetched into `room` meanwhile."""
        with local(file, room) as path:
            rows = self.kind.read_rows(path, column, at_once, self.spelling)
            while (block := guarded(path, lambda: next(rows, None))) is not None:
                yield block


def open_source(
    name: str, column: str, prefix: str, room: Path, spelling: Spelling = USUAL
) -> Source:
    """Find the files, and check that all can be read and answered.

    Raises:
        BadTable: nothing there, several or unknown kinds, a delimiter where there is none, no such
            column or one without text, files with different columns, or a column named like one of
            the answers.
    """
    files = _found_at(name)
    kinds = {kind_of(file.name) for file in files}
    if None in kinds:
        odd = next(file.name for file in files if kind_of(file.name) is None)
        raise BadTable(f"{odd} is of no kind that can be answered; a table is {KNOWN}")
    if len(kinds) > 1:
        raise BadTable(f"{name} holds files of several kinds; name a folder with one of them")
    [kind] = kinds
    assert kind is not None, "checked above"
    if spelling.delimiter is not None and kind is not delimited:
        # One that the task names for its inputs; what is answered here may be of another kind.
        spelling = replace(spelling, delimiter=None)
    layouts, rows = [], []
    # Those behind a URL are not all fetched twice: the rest is checked where it is read.
    near = [file for file in files if not file.remote] or files[:1]
    for file in near:
        with local(file, room) as path:
            layouts.append(guarded(path, partial(kind.layout_of, path, column, spelling)))
            rows.append(guarded(path, partial(kind.rows_in, path)))
    if kind is not jsonlines:
        for file, layout in zip(near, layouts, strict=True):
            if layout != layouts[0]:
                raise BadTable(
                    f"{file.name} has other columns than {files[0].name}: "
                    f"{_difference(layout, layouts[0])}; answer them apart, or give them the same"
                )
    clash = [prefix + field for field in FIELDS if prefix + field in layouts[0]]
    if clash:
        raise BadTable(
            f"{name} has a column {clash[0]!r} already, and answers would be written into one of "
            "that name; give --prefix, e.g. --prefix answer_"
        )
    total = None if None in rows or len(near) < len(files) else sum(rows)
    return Source(tuple(files), kind, suffix_of(files[0].name), layouts[0], total, spelling)


def kind_of(name: str) -> Any:
    """Return the module that reads and writes files of this name; None if there is none."""
    suffix = suffix_of(name)
    return next((kind for kind in KINDS if suffix in kind.SUFFIXES), None)


def suffix_of(name: str) -> str:
    """Return the suffix that tells the kind, without that of the compression."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name.partition("?")[0]).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_url(name: str) -> bool:
    """Whether a name is a URL as fsspec takes them, e.g. s3://bucket/rows.parquet."""
    return "://" in name


@contextmanager
def local(file: SourceFile, room: Path) -> Iterator[Path]:
    """Have a file on this machine: where it is, or a copy for as long as it is read."""
    if not file.remote:
        yield Path(file.name)
        return
    room.mkdir(parents=True, exist_ok=True)
    copy = room / PurePosixPath(file.name).name
    fs, path = file_system(file.name)
    fetched(file.name, lambda: fs.get_file(path, str(copy)))
    try:
        yield copy
    finally:
        copy.unlink()


def file_system(name: str) -> tuple[Any, str]:
    """Return the file system behind a URL and the path in it.

    Raises:
        BadTable: the library for its protocol is not installed, or there is no such protocol.
    """
    from fsspec.core import url_to_fs

    try:
        found: tuple[Any, str] = url_to_fs(name)
    except (ImportError, ValueError) as error:
        raise BadTable(f"{name} cannot be opened: {error}") from None
    return found


def fetched(name: str, do: Callable[[], Any]) -> Any:
    """Do something with a remote file; whatever goes wrong is one sentence."""
    try:
        return do()
    except Exception as error:  # every protocol raises its own
        words = " ".join(str(error).split()) or type(error).__name__
        raise BadTable(f"{name} cannot be reached: {words}") from None


def _found_at(name: str) -> list[SourceFile]:
    if is_url(name):
        return fetched(name, lambda: _remote(name))  # type: ignore[no-any-return]
    path = Path(name)
    if not path.exists():
        raise BadTable(f"{path} does not exist; name a table, or a folder of tables")
    if path.is_dir() and is_saved(path):
        raise BadTable(
            f"{path} was written by save_to_disk, and is of no kind that can be answered; a table "
            f"is {KNOWN}"
        )
    paths: Sequence[Path] = files_in(path) if path.is_dir() else [path]
    return [_stated(one) for one in paths]


def _stated(path: Path) -> SourceFile:
    found = path.stat()
    return SourceFile(str(path), found.st_size, str(found.st_mtime_ns))


def _remote(name: str) -> list[SourceFile]:
    fs, path = file_system(name)
    infos = fs.ls(path, detail=True) if fs.isdir(path) else [fs.info(path)]
    files = [
        SourceFile(
            fs.unstrip_protocol(info["name"]), int(info["size"] or 0), str(fs.ukey(info["name"]))
        )
        for info in sorted(infos, key=lambda info: str(info["name"]))
        if info["type"] == "file"
        and not PurePosixPath(info["name"]).name.startswith((".", "_"))
        and kind_of(info["name"])
    ]
    if not files:
        raise BadTable(f"{name} holds no table; a table is {KNOWN}")
    return files


def _difference(one: dict[str, str], other: dict[str, str]) -> str:
    for name in (*one, *other):
        if one.get(name) != other.get(name):
            return f"{name!r} is {one.get(name, 'missing')} and was {other.get(name, 'missing')}"
    return "their order differs"
