"""`raisehand loadtest compare`."""

from __future__ import annotations

from pathlib import Path

import click

from loadtests.report import files

PATH = click.Path(path_type=Path)


@click.command(epilog="Example: raisehand loadtest compare main/ branch/ --html compared.html")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="A change within this share does not matter.",
)
@click.option("--json", "json_path", type=PATH, help="Write the comparison.")
@click.option("--html", "html_path", type=PATH, help="Write a page.")
def compare(
    a: Path, b: Path, tolerance: float, json_path: Path | None, html_path: Path | None
) -> None:
    """Compare the results A with B: reports that --json wrote, or folders of them.

    Runs are paired by scenario, rate and seed; three pairs or more (--repeats 3) tell best.

    Exit code 0: nothing became worse. 1: something did, or a side does not count. 2: they cannot
    be compared.
    """
    from loadtests.compare.comparison import compare_runs
    from loadtests.compare.page import comparison_page
    from loadtests.compare.results import read_results
    from loadtests.compare.shown import show_load_comparison

    compared = compare_runs(read_results(a), read_results(b), tolerance=tolerance)
    show_load_comparison(compared)
    if json_path is not None:
        files.write(json_path, compared.model_dump_json(indent=2) + "\n")
    if html_path is not None:
        files.write(html_path, comparison_page(compared).html())
    if not compared.passed:
        raise click.exceptions.Exit(1)
