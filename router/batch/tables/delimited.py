"""CSV and its cousins: every cell stays as it was, answers are cells behind them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from costmodel.inputs.tables.columns import places_in
from costmodel.inputs.tables.decoding import opened
from costmodel.inputs.tables.delimited import rows_of
from router.batch.tables.chunk import AnswerColumns, RowsRead, Spelling
from router.batch.tables.packed import append_files, lines_in, written

SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class _Cells:
    header: list[str]
    rows: list[list[str]]
    delimiter: str


def read_rows(path: Path, column: str, at_once: int, spelling: Spelling) -> Iterator[RowsRead]:
    """Yield the rows of a file, so many at once."""
    import pyarrow as pa

    with opened(path, spelling.encoding, newline="") as stream:
        header, rows = _rows(path, stream, column, spelling)
        [place] = places_in(path, header, [column])
        while block := [row for _, row in islice(rows, at_once)]:
            texts = pa.array([row[place] for row in block], pa.string())
            yield RowsRead(texts, _Cells(header, block, _usual(path)))


def layout_of(path: Path, column: str, spelling: Spelling) -> dict[str, str]:
    """Return a file's columns, which are text.

    Raises:
        BadTable: there is no such column.
    """
    with opened(path, spelling.encoding, newline="") as stream:
        header, _ = _rows(path, stream, column, spelling)
        places_in(path, header, [column])
        return dict.fromkeys(header, "text")


def rows_in(path: Path) -> int | None:
    """Count the lines of a file that is not compressed, its header aside; None else."""
    lines = lines_in(path)
    return None if lines is None else max(lines - 1, 0)


def write_part(
    rows: RowsRead, answers: AnswerColumns, names: Sequence[str], path: Path, headed: bool
) -> None:
    """Write rows and their answers; `headed` puts the names of all columns before them."""
    cells: _Cells = rows.body
    with written(path) as stream:
        writer = csv.writer(stream, delimiter=cells.delimiter, lineterminator="\n")
        if headed:
            writer.writerow([*cells.header, *names])
        writer.writerows(
            [
                *row,
                label or "",
                "" if sure is None else f"{sure:.6f}",
                route,
                reason,
                f"{usd:.12f}",
            ]
            for row, (label, sure, route, reason, usd) in zip(
                cells.rows, answers.rows(), strict=True
            )
        )


merge_parts = append_files


def _rows(
    path: Path, stream: TextIO, column: str, spelling: Spelling
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    return rows_of(path, stream, [column], spelling.delimiter, _usual(path))


def _usual(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes else ","
