"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from costmodel.report.page import is_numeric
from costmodel.report.tables import Table

if TYPE_CHECKING:
    from rich.console import Console


def print_tables(console: Console, tables: Sequence[Table]) -> None:
    """Print each table under its caption; columns of numbers are right-aligned."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in tables:
        console.print(Text(table.caption, style="bold"))
        shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for k, header in enumerate(table.headers):
            right = is_numeric([row[k] for row in table.rows])

            shown.add_column(Text(header), justify="right" if right else "left", overflow="fold")
        for row in table.rows:
            # Text, not markup: a price's words may hold square brackets.
            shown.add_row(*(Text(cell) for cell in row))
        console.print(shown)
        console.print()
