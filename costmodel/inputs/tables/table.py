"""A table as it was read: named columns of cells, and where in which file each row stands."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import accumulate
from pathlib import Path

from costmodel.errors import BadTable


@dataclass(frozen=True, slots=True)
class TablePart:
    """The rows of one file.

    Attributes:
        path: the file.
        columns: cells by name: text, numbers, booleans, dates, None, or what nobody can ask about.
        lines: the line on which each row begins; None where a file has no lines.
    """

    path: Path
    columns: Mapping[str, Sequence[object]]
    lines: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def place(self, row: int) -> str:
        """Say where a row stands, e.g. `a.csv line 3`; the first row is 0 here and 1 for people."""
        if self.lines is None:
            return f"{self.path} row {row + 1}"
        return f"{self.path} line {self.lines[row]}"


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of all parts, one after the other."""

    parts: tuple[TablePart, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def place(self, row: int) -> str:
        """Say in which file a row stands, and where."""
        ends = list(accumulate(map(len, self.parts)))
        part = bisect_right(ends, row)
        return self.parts[part].place(row - (ends[part - 1] if part else 0))

    def texts(self, name: str) -> list[str]:
        """Return a column of texts without the white space around them, "" where there is none.

        Raises:
            BadTable: a cell is no text: who asks about a number or a record means another column.
        """
        return [
            cell.strip() if isinstance(cell, str) else _no_text(cell, name, part, row)
            for part in self.parts
            for row, cell in enumerate(part.columns[name])
        ]

    def words(self, name: str) -> list[str]:
        """Return a column of names, numbers or times as words, "" where there is none.

        1.0 is the word 1, as where gaps made floats of integers; a boolean is true or false.

        Raises:
            BadTable: a cell is a record, a list or bytes.
        """
        return [
            cell.strip() if isinstance(cell, str) else _word(cell, name, part, row)
            for part in self.parts
            for row, cell in enumerate(part.columns[name])
        ]


def _no_text(cell: object, name: str, part: TablePart, row: int) -> str:
    if _is_empty(cell):
        return ""
    raise BadTable(f"{part.place(row)}: column {name!r} holds {_kind(cell, name)}; text is needed")


def _word(cell: object, name: str, part: TablePart, row: int) -> str:
    if _is_empty(cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    if isinstance(cell, int | float | Decimal):
        return str(int(cell)) if math.isfinite(cell) and cell == int(cell) else str(cell)
    raise BadTable(
        f"{part.place(row)}: column {name!r} holds {_kind(cell, name)}; a word or a number is "
        "needed"
    )


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, float | Decimal) and math.isnan(cell))


def _kind(cell: object, name: str) -> str:
    shown = repr(cell)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    if isinstance(cell, dict):
        inner = f"{name}.{next(iter(cell))}" if cell else f"{name}.body"
        return f"the record {shown} (a field of it is named with a dot, e.g. {inner})"
    if isinstance(cell, bytes | bytearray | memoryview):
        return f"the bytes {shown}"
    if isinstance(cell, list | tuple):
        return f"the list {shown}"
    if isinstance(cell, bool):
        return f"the boolean {str(cell).lower()}"
    if isinstance(cell, int | float | Decimal):
        return f"the number {cell}"
    return f"the {type(cell).__name__} {shown}"
