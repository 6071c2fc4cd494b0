"""How often a certified promise is broken: thresholds alone, and the whole way from a file.

Thresholds alone are placed on rows drawn at random; the whole way begins with a file of templates,
copies or change. Figures and page are written together, and a broken promise is an exit code.
"""

from __future__ import annotations

import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np

from costmodel.processes import end_with_parent
from students.bench.certificate_page import page_of
from students.bench.placement import (
    AGREEMENT,
    CURVES,
    DELTA,
    PROCEDURES,
    REFERENCE,
    SIZES,
    STRICT,
    SYSTEM,
    Cell,
    simulate,
    standard_error,
)
from students.bench.whole_way import PileCell, piles, simulate_pile
from students.runtime.cores import cores


def summarise(
    cells: list[Cell], whole: list[PileCell], deployments: int, pile_deployments: int, seed: int
) -> dict[str, object]:
    """Gather the cells with the worst excess and the coverage against the reference."""
    ours = {
        cell.n_calibration: cell.coverage
        for cell in cells
        if cell.procedure == "strict (G1)" and cell.curve == "good ranking"
    }
    every: list[Cell | PileCell] = [*cells, *whole]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "agreement": AGREEMENT,
        "delta": DELTA,
        "seed": seed,
        "deployments": deployments,
        "standard_error": standard_error(deployments),
        "pile_deployments": pile_deployments,
        "pile_standard_error": standard_error(pile_deployments),
        "violation_excess": max(one.excess for one in every if one.guaranteed),
        "broken": broken_promises(cells, whole),
        "coverage_shortfall": max(REFERENCE[n] - ours[n] for n in ours),
        "cells": [asdict(cell) for cell in cells],
        "piles": [asdict(cell) for cell in whole],
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


def broken_promises(cells: list[Cell], whole: list[PileCell]) -> list[str]:
    """Name what the product promised and broke in more than delta + 3 standard errors."""
    names = [
        f"{cell.procedure} on {cell.curve}, n = {cell.n_calibration}"
        for cell in cells
        if cell.guaranteed and cell.excess > 0
    ]
    return names + [
        f"{cell.promise} on the pile {cell.pile}"
        for cell in whole
        if cell.guaranteed and cell.excess > 0
    ]


@click.command()
@click.option("--deployments", default=2000, show_default=True, type=click.IntRange(100))
@click.option(
    "--pile-deployments",
    default=300,
    show_default=True,
    type=click.IntRange(2),
    help="Of each pile that goes the whole way.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--processes", type=click.IntRange(1), help="Default: one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write certificate.json and its page, certificate.md, into this folder.",
)
def certificate(
    deployments: int,
    pile_deployments: int,
    seed: int,
    processes: int | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """Count broken promises over thousands of simulated deployments, from file to certificate.

    Ends with exit code 1 if a promise of the product is broken more often than promised.

    Example: raisehand bench certificate --out docs/benchmarks
    """
    started = _processor_s()
    cells, whole = _simulated(deployments, pile_deployments, seed, processes or cores())
    result = summarise(cells, whole, deployments, pile_deployments, seed)
    result["seconds"] = _processor_s() - started
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        shown = json.dumps(result, indent=1) + "\n"
        (out / "certificate.json").write_text(shown, encoding="utf-8")
        (out / "certificate.md").write_text(page_of(result), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result))
    else:
        _print(result, cells, whole)
    if result["broken"]:
        click.echo(f"Broken promises: {'; '.join(broken_promises(cells, whole))}.", err=True)
        raise SystemExit(1)


def _processor_s() -> float:
    """Seconds of processor so far, of this process and of those that have ended."""
    return sum(os.times()[:4])


def _simulated(
    deployments: int, pile_deployments: int, seed: int, processes: int
) -> tuple[list[Cell], list[PileCell]]:
    from rich.console import Console
    from rich.progress import Progress

    cells, whole = [], []
    fresh = get_context("spawn")  # a fork would copy the threads of numpy's libraries, locked
    pool = ProcessPoolExecutor(processes, fresh, end_with_parent) if processes > 1 else None
    with pool or nullcontext(), Progress(console=Console(stderr=True), transient=True) as bars:
        place = bars.add_task("Thresholds", total=len(CURVES) * len(SIZES) * len(PROCEDURES))
        for cell in simulate(deployments, seed, pool):
            cells.append(cell)
            bars.advance(place)
        kinds = piles()
        place = bars.add_task("Whole way", total=len(kinds))
        for pile in kinds:
            whole.extend(simulate_pile(pile, (SYSTEM, STRICT), pile_deployments, seed, pool))
            bars.advance(place)
    return cells, whole


def _print(result: dict[str, object], cells: list[Cell], whole: list[PileCell]) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"Promise {AGREEMENT:.0%} agreement, delta {DELTA:.0%}"
    table = Table("true agreement", "n", "procedure", *_RATES, title=title)
    for cell in cells:
        table.add_row(cell.curve, str(cell.n_calibration), cell.procedure, *_rates(cell))
    ways = Table("pile", "promise", "calibration rows", "n", *_RATES, title=f"{title}, whole way")
    for one in whole:
        ways.add_row(one.pile, one.promise, one.way, f"{one.n_calibration:.0f}", *_rates(one))
    console = Console()
    console.print(table, ways)
    console.print(
        f"violation_excess {result['violation_excess']:+.4f} over {result['deployments']} "
        f"deployments a cell, {result['pile_deployments']} of a pile; "
        f"coverage_shortfall {result['coverage_shortfall']:+.3f}"
    )


_RATES = ("broken", "refused", "coverage")


def _rates(cell: Cell | PileCell) -> tuple[str, str, str]:
    return f"{cell.broken:.3f}", f"{cell.refused:.2f}", f"{cell.coverage:.3f}"
