"""Real inputs: the rows of a CSV or JSONL file that have a text."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.errors import BadRows


@dataclass(frozen=True, slots=True)
class Row:
    """One input: its 0-based position among the file's data rows, and its text."""

    index: int
    text: str


def read_rows(path: Path, column: str, encoding: str = "utf-8") -> list[Row]:
    """Read the rows of a .csv or .jsonl file; rows whose text is blank are left out.

    Raises:
        BadRows: no such file, not readable as its format, no such column, or no text at all.
    """
    rows = [
        Row(index, text)
        for index, record in enumerate(_read(path, encoding, column))
        if isinstance(text := record.get(column), str) and text.strip()
    ]
    if not rows:
        raise BadRows(f"{path} holds no text in column {column!r}; at least one row is needed")
    return rows


def read_pairs(path: Path, key: str, value: str, encoding: str = "utf-8") -> dict[str, str]:
    """Read two columns as a mapping; a key that occurs twice keeps its last value.

    Raises:
        BadRows: as `read_rows`.
    """
    return {str(r[key]): str(r[value]) for r in _read(path, encoding, key, value)}


def _read(path: Path, encoding: str, *columns: str) -> list[Mapping[str, object]]:
    if path.suffix not in (".csv", ".jsonl"):
        raise BadRows(f"{path} is not a .csv or .jsonl file; convert the inputs to one of them")
    try:
        records = list(_records(path, encoding))
    except FileNotFoundError:
        raise BadRows(f"{path} does not exist; name a .csv or .jsonl file of inputs") from None
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise BadRows(
            f"{path} cannot be read as {path.suffix[1:]} in {encoding}: {error}"
        ) from None
    for column in columns:
        if records and column not in records[0]:
            found = ", ".join(str(name) for name in records[0])
            raise BadRows(f"{path} has no column {column!r}; its columns are {found}")
    return records


def _records(path: Path, encoding: str) -> Iterator[Mapping[str, object]]:
    with path.open(encoding=encoding, newline="") as file:
        if path.suffix == ".csv":
            yield from csv.DictReader(file)
            return
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            record = json.loads(line)
            if not isinstance(record, dict):
                raise BadRows(f"line {number} of {path} is no JSON object: {line.strip()[:60]}")
            yield record
