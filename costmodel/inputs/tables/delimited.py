"""Rows of CSV and its cousins, and of plain lines of text.

The standard library's reader and not pyarrow's: the latter takes text behind a closing quote, and
all that follows to the next quote, for part of the cell, and says nothing.
"""

from __future__ import annotations

import csv
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from costmodel.errors import BadTable
from costmodel.inputs.tables.columns import places_in
from costmodel.inputs.tables.table import TablePart

_SNIFFED = ",;\t|"
_IN_WORDS = {"tab": "\t", "\\t": "\t"}
_EXCEL = re.compile(r'"?sep=(.)"?\s*')
"""A first line of Excel's own, which is no row."""


def read_delimited(
    path: Path, stream: TextIO, names: Sequence[str], delimiter: str | None, usual: str
) -> TablePart:
    """Read the named columns; without a delimiter by the one under which the header has them.

    `stream` keeps line ends as they are (newline=""); `usual` is tried first.

    Raises:
        BadTable: a name is missing or doubled, a row is ragged, or a quote is not closed.
    """
    header, rows = rows_of(path, stream, names, delimiter, usual)
    places = places_in(path, header, names)
    cells: list[list[str]] = [[] for _ in names]
    starts = array("q")
    for start, row in rows:
        starts.append(start)
        for column, place in zip(cells, places, strict=True):
            column.append(row[place])
    return TablePart(path, dict(zip(names, cells, strict=True)), starts)


def rows_of(
    path: Path, stream: TextIO, names: Sequence[str], delimiter: str | None, usual: str
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header, and each row with the line on which it begins; as `read_delimited`."""
    csv.field_size_limit(sys.maxsize)
    first, skipped, told = _first_line(stream)
    chosen = _checked(delimiter) if delimiter else told or _sniffed(first, names, usual)
    rows = _rows(path, chain([first], stream), chosen, skipped)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    return header, _of_one_length(path, rows, len(header), chosen)


def _of_one_length(
    path: Path, rows: Iterator[tuple[int, list[str]]], fields: int, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    for start, row in rows:
        if len(row) != fields:
            raise BadTable(
                f"{path} line {start} has {len(row)} fields and the header has {fields}; a "
                f"cell with {delimiter!r} in it needs quotes around it: "
                f"{delimiter.join(row)[:60]!r}"
            )
        yield start, row


def read_lines(path: Path, stream: TextIO, names: Sequence[str]) -> TablePart:
    """Read a text a line; the one column has whatever name is asked for.

    Raises:
        BadTable: more than one column is asked for.
    """
    if len(names) > 1:
        raise BadTable(
            f"{path} holds a text a line and no column {names[1]!r}; save it as .csv or .tsv with "
            "a header"
        )
    texts = [line.rstrip("\n") for line in stream]
    return TablePart(path, {names[0]: texts}, range(1, len(texts) + 1))


def _first_line(stream: TextIO) -> tuple[str, int, str | None]:
    """Return the first line with anything on it, the lines before, and Excel's delimiter."""
    skipped, told = 0, None
    for line in stream:
        if excel := _EXCEL.fullmatch(line):
            told = excel[1]
        elif line.strip():
            return line, skipped, told
        skipped += 1
    return "", skipped, told


def _rows(
    path: Path, lines: Iterator[str], delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins and its fields; empty lines are no rows."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = skipped + 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = skipped + reader.line_num + 1
    except csv.Error as error:
        what = (
            "a quote opens a cell there and is never closed"
            if "unexpected end" in str(error)
            else "text stands behind the quote that closes a cell"
        )
        raise BadTable(
            f"{path} line {start}: {what}; a quote within a quoted cell is written twice"
        ) from None


def _sniffed(line: str, names: Sequence[str], usual: str) -> str:
    """Choose the delimiter that finds most of the names, then the usual one, then most columns."""

    def found(delimiter: str) -> tuple[int, bool, int]:
        header = next(csv.reader([line], delimiter=delimiter), [])
        known = len({cell.strip() for cell in header} & set(names))
        return known, delimiter == usual and known > 0, len(header)

    return max(_SNIFFED, key=found)


def _checked(delimiter: str) -> str:
    chosen = _IN_WORDS.get(delimiter, delimiter)
    if len(chosen) != 1 or chosen in '"\r\n':
        raise BadTable(f"the delimiter is {delimiter!r}; one character is needed, e.g. ; or tab")
    return chosen
