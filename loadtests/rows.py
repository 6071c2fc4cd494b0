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
    if records and column not in records[0]:
        columns = ", ".join(str(name) for name in records[0])
        raise BadRows(f"{path} has no column {column!r}; its columns are {columns}")
    rows = [
        Row(index, text)
        for index, record in enumerate(records)
        if isinstance(text := record.get(column), str) and text.strip()
    ]
    if not rows:
        raise BadRows(f"{path} holds no text in column {column!r}; at least one row is needed")
    return rows


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
