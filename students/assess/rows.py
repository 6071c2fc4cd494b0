"""The rows of a log file, one after the other, whatever the file is."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from costmodel.errors import BadTable
from costmodel.inputs.tables.decoding import COMPRESSED, opened
from students.assess.remote import is_url, read_url
from students.errors import BadInputs

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_LISTS = ("data", "observations", "spans", "results", "logs")
"""Under which names an export has its rows, where it is one object."""

Row = dict[str, Any]


def read_rows(sources: Sequence[str | Path], since: datetime) -> Iterator[Row]:
    """Yield the rows of files, of the files in folders, and those at URLs of `since` and later.

    Raises:
        BadInputs: a file is missing, of no known kind or broken, with its line; or see `read_url`.
    """
    for source in sources:
        if isinstance(source, str) and is_url(source):
            yield from read_url(source, since)
            continue
        path = Path(source)
        if not path.exists():
            raise BadInputs(f"{path} does not exist; name a log file or a folder of them")
        files = [path] if path.is_file() else _inside(path)
        for file in files:
            try:
                yield from _rows(file)
            except BadTable as error:
                raise BadInputs(str(error)) from None


def _inside(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and _kind(f) in KINDS)
    if not files:
        raise BadInputs(f"{folder} has no log files; known are {', '.join(KINDS)}, also packed")
    return files


def _kind(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _rows(path: Path) -> Iterator[Row]:
    kind = _kind(path)
    if kind == ".parquet":
        yield from _parquet(path)
    elif kind in (".csv", ".tsv"):
        csv.field_size_limit(1 << 27)  # a cell may hold a whole prompt
        with opened(path, "utf-8", newline="") as stream:
            yield from csv.DictReader(stream, delimiter="\t" if kind == ".tsv" else ",")
    elif kind in (".jsonl", ".ndjson", ".json"):
        yield from _json(path, whole=kind == ".json")
    else:
        raise BadInputs(f"{path} is of no known kind; known are {', '.join(KINDS)}, also packed")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise BadInputs(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def _json(path: Path, *, whole: bool) -> Iterator[Row]:
    with opened(path, "utf-8") as stream:
        if whole:
            content = stream.read()
            try:
                yield from _objects(json.loads(content))
                return
            except ValueError:
                lines = content.splitlines()  # JSON lines under another name
        else:
            lines = stream  # type: ignore[assignment]
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield from _objects(json.loads(line))
            except ValueError as error:
                raise BadInputs(f"{path} line {number} is no JSON: {error}") from None


def _objects(content: object) -> Iterator[Row]:
    if isinstance(content, list):
        yield from (row for row in content if isinstance(row, dict))
    elif isinstance(content, dict):
        inner = next((content[n] for n in _LISTS if isinstance(content.get(n), list)), None)
        many = inner is not None and "choices" not in content and "type" not in content
        yield from _objects(inner) if many else (content,)
