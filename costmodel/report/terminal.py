"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from costmodel.report.page import is_numeric
from costmodel.report.tables import Table

if TYPE_CHECKING:
    from rich.console import Console


GAP = 2
"""Columns of space between two of a table's."""


def print_tables(console: Console, tables: Sequence[Table]) -> None:
    """Print each table under its caption; columns of numbers are right-aligned.

    Where the terminal is so narrow that words would break, each row becomes a card.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in tables:
        console.print(Text(table.caption, style="bold"))
        if not _fits(table, console.width):
            _print_cards(console, table)
            continue
        shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for k, header in enumerate(table.headers):
            right = is_numeric([row[k] for row in table.rows])

            shown.add_column(Text(header), justify="right" if right else "left", overflow="fold")
        for row in table.rows:
            # Text, not markup: a price's words may hold square brackets.
            shown.add_row(*(Text(cell) for cell in row))
        console.print(shown)
        console.print()


def _fits(table: Table, width: int) -> bool:
    """Whether no word of it has to be broken; two columns always may: they are words and prose."""
    columns = zip(table.headers, *table.rows, strict=True)
    words = [
        max(len(word) for cell in column for word in (cell.split() or [""])) for column in columns
    ]
    return len(words) <= 2 or sum(words) + GAP * (len(words) - 1) <= width


def _print_cards(console: Console, table: Table) -> None:
    """One card for each row: its first cell, then each other cell beside its header."""
    from rich.text import Text

    wide = max(len(header) for header in table.headers)
    for row in table.rows:
        console.print(Text(row[0], style="underline"))
        for header, cell in zip(table.headers[1:], row[1:], strict=True):
            console.print(Text(f"  {header:<{wide}}  {cell}"))
    console.print()
