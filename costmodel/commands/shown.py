"""How the commands show tables and write files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.inputs.ledger.database import is_database

if TYPE_CHECKING:
    from costmodel.report.tables import PageTable


def ledger_of(value: str | Path) -> Path | str:
    """Read the name of a ledger: a file's, or a database's, of which a path would lose a slash."""
    return str(value) if is_database(value) else Path(value)


def show(tables: Sequence[PageTable], *, as_markdown: bool = False) -> None:
    """Print tables on the terminal, or as Markdown."""
    from rich.console import Console

    from costmodel.report.tables import markdown
    from costmodel.report.terminal import print_tables

    if as_markdown:
        click.echo(markdown(tables))
    else:
        print_tables(Console(), tables)


def write(path: Path | None, text: Callable[[], str]) -> None:
    """Write a file where one was asked for, its folder too."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
