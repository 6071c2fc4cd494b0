"""JSON, an object a line: every object stays as it was, answers are further keys of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from costmodel.errors import BadTable
from costmodel.inputs.tables.columns import MISSING, inside, leaves, no_column
from costmodel.inputs.tables.decoding import opened
from costmodel.inputs.tables.jsons import values_of
from router.batch.tables.chunk import AnswerColumns, RowsRead, Spelling
from router.batch.tables.packed import append_files, lines_in, written

SUFFIXES = (".jsonl", ".ndjson", ".json")


def read_rows(path: Path, column: str, at_once: int, spelling: Spelling) -> Iterator[RowsRead]:
    """Yield the rows of a file, so many at once; a cell that is no text is a fault of its row."""
    import pyarrow as pa

    with opened(path, spelling.encoding) as stream:
        values = values_of(path, stream, [column])
        while block := list(islice(values, at_once)):
            texts: list[str | None] = []
            faults: dict[int, str] = {}
            for i, (line, row) in enumerate(block):
                texts.append(_text(path, line, row, column, faults, i))
            yield RowsRead(pa.array(texts, pa.string()), [row for _, row in block], faults)


def layout_of(path: Path, column: str, spelling: Spelling) -> dict[str, str]:
    """Return the keys of a file's first rows.

    Raises:
        BadTable: none of these has the key that names the text.
    """
    keys: dict[str, str] = {}
    found = False
    with opened(path, spelling.encoding) as stream:
        for _, row in islice(values_of(path, stream, [column]), _LOOKED_AT):
            if isinstance(row, Mapping):
                keys |= dict.fromkeys(leaves(row), "any")
                found |= inside(row, column) is not MISSING
    if keys and not found:
        raise no_column(path, column, keys)
    return keys


def rows_in(path: Path) -> int | None:
    """Count the lines of a file that is not compressed; None else."""
    return lines_in(path)


def write_part(
    rows: RowsRead, answers: AnswerColumns, names: Sequence[str], path: Path, headed: bool
) -> None:
    """Write rows and their answers; objects need no header."""
    with written(path) as stream:
        for row, (label, sure, route, reason, usd) in zip(rows.body, answers.rows(), strict=True):
            fields = (label, None if sure is None else round(sure, 6), route, reason, float(usd))
            said = dict(zip(names, fields, strict=True))
            stream.write(json.dumps({**row, **said}, ensure_ascii=False) + "\n")


merge_parts = append_files

_LOOKED_AT = 100


def _text(
    path: Path, line: int, row: Any, column: str, faults: dict[int, str], place: int
) -> str | None:
    if not isinstance(row, Mapping):
        raise BadTable(
            f"{path} line {line} holds a {type(row).__name__}; a JSON object is needed, e.g. "
            f'{{"{column}": "…"}}'
        )
    cell = inside(row, column)
    if cell is None or cell is MISSING:
        return None
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            faults[place] = f"{path} line {line}: {column!r} holds half a surrogate pair"
            return None
        return cell
    faults[place] = f"{path} line {line}: {column!r} holds a {type(cell).__name__}, not text"
    return None
