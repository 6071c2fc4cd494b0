"""`raisehand loadtest history`."""

from __future__ import annotations

from pathlib import Path

import click

from loadtests.report import files

PATH = click.Path(path_type=Path)


@click.command(epilog="Example: raisehand loadtest history .raisehand/loadtests.jsonl")
@click.argument("paths", type=PATH, nargs=-1, required=True)
@click.option(
    "--html", "html_path", type=PATH, help="Write a page with the trend of each scenario."
)
def history(paths: tuple[Path, ...], html_path: Path | None) -> None:
    """Show load tests in a row: histories (.jsonl), reports (.json) and folders of them."""
    from loadtests.compare.page import history_page
    from loadtests.compare.results import read_history
    from loadtests.compare.shown import show_history

    lines = read_history(paths)
    show_history(lines)
    if html_path is not None:
        files.write(html_path, history_page(lines).html())
