"""How often `student: auto` breaks a promise, although it certifies several students on one set.

A world is four students whose truth is known, from the cheapest to the dearest: at confidence u,
uniform on [0, 1], each disagrees with the teacher with probability d(u). Each deployment draws
calibration rows, on which all four are certified one after the other as `raisehand distill` does,
the k-th with delta / 2^k, until the next could not pay; the one of the least bill is taken, and its
true risk looked up. The four see the same rows: what is hard for one is hard for the others.
Beside it the usual way, every student with the whole delta, shows that a broken promise is seen.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import click
import numpy as np
import numpy.typing as npt
from scipy import special

from students.bench.placement import AGREEMENT, CURVES, DELTA, SYSTEM, Truth
from students.certify.certify import certify
from students.errors import NotCertifiable
from students.sections import PromiseSection

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]

SIZES = (300, 1000, 3000)
MACHINES = (0.001, 0.02, 0.02, 0.04)
"""What a month of each student's machines costs, of a month in which the teacher answers all."""
SAME_ROWS = 0.7
"""Correlation of two students' confidences, as normal scores."""
WAYS = ("auto", "the whole delta for each")

WORLDS: dict[str, tuple[str, ...]] = {
    "each better than the one before": (
        "plateau .80 then .948", "shallow ranking", "good ranking", "flat .945",
    ),
    "all just too bad to keep everything": ("flat .945",) * 4,
    "all alike and good": ("good ranking",) * 4,
    "all weak": ("weak ranking .86 to .95",) * 4,
    "the surest are wrong": ("surest are wrong",) * 4,
}  # fmt: skip


@dataclass(frozen=True)
class AutoCell:
    """One way in one world at one calibration size, over all deployments."""

    world: str
    n_calibration: int
    way: str
    guaranteed: bool
    broken: float
    """Share of deployments whose chosen student breaks the promise."""
    refused: float
    looks: float
    """Students that were certified, on average, before the next could not pay."""
    coverage: float
    """Mean true coverage of the chosen one, 0 where all were refused."""
    excess: float
    """broken - delta - 3 standard errors: above 0 only if the guarantee is violated."""


@click.command(epilog="Example: raisehand bench auto --json")
@click.option("--deployments", default=2000, show_default=True, type=click.IntRange(20))
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def auto(deployments: int, seed: int, as_json: bool) -> None:
    """Count promises that `student: auto` breaks, over simulated deployments."""
    start = time.perf_counter()
    cells = list(simulate_auto(deployments, seed))
    shown = {
        "agreement": AGREEMENT,
        "delta": DELTA,
        "deployments": deployments,
        "violation_excess": max(c.excess for c in cells if c.guaranteed),
        "cells": [asdict(cell) for cell in cells],
        "seconds": round(time.perf_counter() - start, 1),
        "machine": platform.machine(),
    }
    click.echo(json.dumps(shown, indent=1) if as_json else _words(cells))


def simulate_auto(deployments: int, seed: int = 0) -> Iterator[AutoCell]:
    """Play every world at every size, each way on the same rows."""
    for w, (world, names) in enumerate(WORLDS.items()):
        truths = [Truth.of(CURVES[name]) for name in names]
        for n in SIZES:
            found: dict[str, list[tuple[bool, float | None, int]]] = {way: [] for way in WAYS}
            rng = np.random.default_rng([seed, w, n])
            for _ in range(deployments):
                rows = _rows(names, n, rng)
                for way in WAYS:
                    found[way].append(_deployed(rows, truths, uses=way == "auto"))
            for way, outcomes in found.items():
                broken = float(np.mean([one[0] for one in outcomes]))
                error = (DELTA * (1 - DELTA) / deployments) ** 0.5
                yield AutoCell(
                    world,
                    n,
                    way,
                    way == "auto",
                    broken,
                    float(np.mean([one[1] is None for one in outcomes])),
                    float(np.mean([one[2] for one in outcomes])),
                    float(np.mean([one[1] or 0.0 for one in outcomes])),
                    broken - DELTA - 3 * error,
                )


def _rows(names: Sequence[str], n: int, rng: np.random.Generator) -> list[tuple[Floats, Bools]]:
    """Draw how sure each student is of n rows, and whether it is wrong."""
    shared, luck = rng.normal(size=n), rng.random(n)
    rows = []
    for name in names:
        own = rng.normal(size=n)
        sure = special.ndtr(SAME_ROWS**0.5 * shared + (1 - SAME_ROWS) ** 0.5 * own)
        rows.append((sure, luck < CURVES[name](sure)))
    return rows


def _deployed(
    rows: Sequence[tuple[Floats, Bools]], truths: Sequence[Truth], *, uses: bool
) -> tuple[bool, float | None, int]:
    """Climb, and return whether the chosen one is broken, its coverage and the looks taken."""
    best: tuple[float, float, Truth] | None = None
    looks = 0
    for (sure, wrong), truth, machines in zip(rows, truths, MACHINES, strict=True):
        if best is not None and machines >= best[0]:
            break  # a month without any escalation would cost as much
        looks += 1
        try:
            found = certify(
                sure, np.zeros(sure.size, int), wrong.astype(int), _promise(uses),
                labels=("a", "b"), use=looks if uses else 1,
            )  # fmt: skip
        except NotCertifiable:
            continue
        bill = machines + 1 - found.coverage
        if best is None or bill < best[0]:
            best = bill, found.thresholds[0], truth
    if best is None:
        return False, None, looks
    _, threshold, truth = best
    return truth.wrong(threshold) > 1 - AGREEMENT + 1e-9, max(0.0, 1 - threshold), looks


def _promise(uses: bool) -> PromiseSection:
    """Return the promise; without uses its first one spends the whole delta."""
    return SYSTEM if uses else SYSTEM.model_copy(update={"confidence": 1 - 2 * DELTA})


def _words(cells: Sequence[AutoCell]) -> str:
    lines = [f"Promise {AGREEMENT:.0%} agreement, delta {DELTA:.0%}"]
    for one in cells:
        lines.append(
            f"{one.world:<36} n {one.n_calibration:>5} {one.way:<25} broken {one.broken:.3f}  "
            f"refused {one.refused:.2f}  looks {one.looks:.1f}  coverage {one.coverage:.3f}"
        )
    return "\n".join(lines)
