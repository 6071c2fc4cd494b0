"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from costmodel.report.page import is_numeric
from costmodel.report.tables import PageTable

if TYPE_CHECKING:
    from rich.console import Console


GAP = 3
"""Columns of space between two of a table's."""


def print_tables(console: Console, tables: Sequence[PageTable]) -> None:
    """Print each table under its caption; columns of numbers are right-aligned.

    Where the terminal is so narrow that words would break, each row becomes a card.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in tables:
        console.print(Text(table.caption, style="bold"))
        # Two columns are a name and prose: prose may break anywhere.
        prose = len(table.headers) < 3
        widths = None if prose else _widths(table, console.width)
        if widths is None and not prose:
            _print_cards(console, table)
            continue
        shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for k, header in enumerate(table.headers):
            right = is_numeric([row[k] for row in table.rows])

            shown.add_column(
                Text(header),
                justify="right" if right else "left",
                overflow="fold",
                width=widths[k] if widths else None,
            )
        for row in table.rows:
            # Text, not markup: a price's words may hold square brackets.
            shown.add_row(*(Text(cell) for cell in row))
        console.print(shown)
        console.print()


def _widths(table: PageTable, room: int) -> list[int] | None:
    """Of each column, so that no word is broken; None: there is no room for that.

    Each has its longest word; what is left goes to those that wrap, the first one first.
    """
    columns = list(zip(table.headers, *table.rows, strict=True))
    widths = [max(len(word) for cell in one for word in (cell.split() or [""])) for one in columns]
    left = room - sum(widths) - GAP * len(widths)
    if left < 0:
        return None
    for k, one in enumerate(columns):
        more = min(max(map(len, one)) - widths[k], left)
        widths[k] += more
        left -= more
    return widths


def _print_cards(console: Console, table: PageTable) -> None:
    """One card for each row: its first cell, then each other cell beside its header."""
    from rich.text import Text

    wide = max(len(header) for header in table.headers)
    for row in table.rows:
        console.print(Text(row[0], style="underline"))
        for header, cell in zip(table.headers[1:], row[1:], strict=True):
            console.print(Text(f"  {header:<{wide}}  {cell}"))
    console.print()
