"""Placing a threshold, on students whose truth is known: how often the promise is broken.

A simulated student has confidence u, uniform on [0, 1], and disagrees with its teacher with
probability d(u): both promises' true risks are integrals. Each deployment draws calibration rows,
places thresholds with the code that `raisehand distill` runs, and looks up the truth. Two usual
ways to choose a threshold run beside it, to show that the simulation sees a broken promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from students.bench.traffic import LABELS
from students.certificate import NEVER
from students.certify.binomial import allowed_disagreements
from students.certify.thresholds import (
    OVERALL,
    Rows,
    grid_from_scores,
    raise_others,
    strict_thresholds,
    system_needs,
)
from students.sections import ClassPromiseSection, PromiseSection

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

AGREEMENT, DELTA = 0.95, 0.10
SIZES = (300, 1000, 3000)
UNLABELLED_ROWS = 1000
SHARES = (0.2, 0.8)
"""Share of the traffic that the student answers with each label."""
REFERENCE = {300: 0.34, 1000: 0.58, 3000: 0.68}
"""Mean coverage of a fixed sequence on a good ranking, from an earlier study of the method."""

CURVES: dict[str, Callable[[Floats], Floats]] = {
    "flat .945": lambda u: np.full_like(u, 0.055),
    "plateau .80 then .948": lambda u: np.where(u < 0.5, 0.20, 0.052),
    "weak ranking .86 to .95": lambda u: 0.14 - 0.09 * u,
    "shallow ranking": lambda u: 0.4 / 3 * (1 - u),
    "good ranking": lambda u: 0.8 / 3 * (1 - u) ** 2,
    "surest are wrong": lambda u: np.where(u > 0.9, 0.12, 0.055 * (1 - u)),
}
"""Disagreement at confidence u. On the shallow and the good one the strict promise truly holds up
to 75 % coverage; the good one has the shape on which the two usual ways reach the coverage that the
earlier study reports for them."""

STEPS = 20_000
_EDGES = np.linspace(0.0, 1.0, STEPS + 1)


@dataclass(frozen=True)
class Truth:
    """True risks of one curve: mass that is kept and wrong above each threshold."""

    mass: Floats

    @classmethod
    def of(cls, curve: Callable[[Floats], Floats]) -> Truth:
        """Integrate d(u) from each of 20,001 thresholds to 1 by the midpoint rule."""
        middle = (_EDGES[1:] + _EDGES[:-1]) / 2
        above = np.cumsum(curve(middle)[::-1])[::-1] / STEPS
        return cls(np.append(above, 0.0))

    def wrong(self, threshold: float) -> float:
        """P(kept and wrong) at a threshold; 0 when nothing is kept."""
        return float(np.interp(threshold, _EDGES, self.mass, right=0.0))


@dataclass(frozen=True)
class Cell:
    """One procedure on one curve at one calibration size, over all deployments."""

    curve: str
    n_calibration: int
    procedure: str
    guaranteed: bool
    broken: float
    """Share of deployments that deployed and broke a promise."""
    refused: float
    coverage: float
    """Mean true coverage, 0 where refused."""
    excess: float
    """broken - delta - 3 standard errors: above 0 only if the guarantee is violated."""


Outcome = tuple[bool, float]
"""Whether a promise is broken, and the true coverage."""

STRICT = PromiseSection(agreement=AGREEMENT, confidence=1 - DELTA, promise="strict")
SYSTEM = PromiseSection(agreement=AGREEMENT, confidence=1 - DELTA, promise="system")
_BOTH = {name: ClassPromiseSection(agreement=AGREEMENT) for name in LABELS}
STRICT_BY_CLASS = STRICT.model_copy(update={"per_class": _BOTH})
SYSTEM_BY_CLASS = SYSTEM.model_copy(update={"per_class": _BOTH})


def draw(curve: Callable[[Floats], Floats], n: int, rng: np.random.Generator) -> Rows:
    """Draw n calibration rows; with two labels a wrong answer is the other label."""
    confidence = rng.random(n)
    predicted = (rng.random(n) < SHARES[1]).astype(np.int64)
    wrong = rng.random(n) < curve(confidence)
    return Rows(confidence, predicted, np.where(wrong, 1 - predicted, predicted), LABELS)


def deploy_system(rows: Rows, truth: Truth, rng: np.random.Generator) -> Outcome:
    """Place one threshold by the monotone exact bound (G2)."""
    need = system_needs(rows, SYSTEM, DELTA)[OVERALL]
    threshold = NEVER if need is None else need
    return truth.wrong(threshold) > 1 - AGREEMENT, max(0.0, 1 - threshold)


def deploy_strict(rows: Rows, truth: Truth, rng: np.random.Generator) -> Outcome:
    """Place one threshold by the fixed sequence (G1)."""
    grid = grid_from_scores(rng.random(UNLABELLED_ROWS))
    threshold = float(strict_thresholds(rows, STRICT, DELTA, grid)[0])
    coverage = max(0.0, 1 - threshold)
    return truth.wrong(threshold) > (1 - AGREEMENT) * coverage, coverage


def deploy_strict_by_class(rows: Rows, truth: Truth, rng: np.random.Generator) -> Outcome:
    """Place a threshold for each predicted class by a sequence of its own, delta shared."""
    predicted = (rng.random(UNLABELLED_ROWS) < SHARES[1]).astype(np.int64)
    grid = grid_from_scores(rng.random(UNLABELLED_ROWS), predicted)
    thresholds = strict_thresholds(rows, STRICT_BY_CLASS, DELTA, grid)
    coverage = np.maximum(0.0, 1 - thresholds)
    wrong = np.array([truth.wrong(float(t)) for t in thresholds])
    return bool((wrong > (1 - AGREEMENT) * coverage).any()), float(coverage @ SHARES)


def deploy_system_by_class(rows: Rows, truth: Truth, rng: np.random.Generator) -> Outcome:
    """Keep the overall promise and one on each of the teacher's classes, delta shared."""
    needs = system_needs(rows, SYSTEM_BY_CLASS, DELTA / 3)
    if None in needs.values():
        return False, 0.0
    thresholds = raise_others(LABELS, needs)
    # The teacher gives class c where the student says c and is right or says the other, wrong.
    wrong = np.array([truth.wrong(float(t)) for t in thresholds]) * SHARES
    everything = truth.wrong(0.0)
    teacher = np.array(SHARES) * (1 - everything) + np.array(SHARES[::-1]) * everything
    lost = wrong[::-1] / teacher
    broken = wrong.sum() > 1 - AGREEMENT or (lost > 1 - AGREEMENT).any()
    return bool(broken), float(np.maximum(0.0, 1 - thresholds) @ SHARES)


def deploy_best_looking(rows: Rows, truth: Truth, rng: np.random.Generator) -> Outcome:
    """Take the largest coverage whose observed disagreement keeps the strict promise."""
    ranked, wrong = _ranked(rows)
    return _last(ranked, wrong <= (1 - AGREEMENT) * np.arange(1, wrong.size + 1), truth)


def deploy_uncorrected(rows: Rows, truth: Truth, rng: np.random.Generator) -> Outcome:
    """Take the largest coverage whose exact bound keeps the strict promise, at full delta each."""
    ranked, wrong = _ranked(rows)
    return _last(ranked, wrong <= _allowed(wrong.size), truth)


def _ranked(rows: Rows) -> tuple[Floats, Ints]:
    order = np.argsort(-rows.confidence)
    return rows.confidence[order], np.cumsum(rows.disagree[order], dtype=np.int64)


@cache
def _allowed(n: int) -> Ints:
    return allowed_disagreements(np.arange(1, n + 1), 1 - AGREEMENT, DELTA)


def _last(ranked: Floats, passed: npt.NDArray[np.bool_], truth: Truth) -> Outcome:
    if not passed.any():
        return False, 0.0
    threshold = float(ranked[np.flatnonzero(passed)[-1]])
    return truth.wrong(threshold) > (1 - AGREEMENT) * (1 - threshold), 1 - threshold


PROCEDURES: dict[str, tuple[Callable[[Rows, Truth, np.random.Generator], Outcome], bool]] = {
    "system (G2)": (deploy_system, True),
    "strict (G1)": (deploy_strict, True),
    "strict by class": (deploy_strict_by_class, True),
    "system by class": (deploy_system_by_class, True),
    "best looking threshold": (deploy_best_looking, False),
    "exact bound, uncorrected": (deploy_uncorrected, False),
}


def simulate(deployments: int, seed: int = 0, pool: Executor | None = None) -> Iterator[Cell]:
    """Deploy every procedure on every curve and size, many times; cells as they are done."""
    places = [(name, n) for name in CURVES for n in SIZES]
    if pool is None:
        found = (_cells(name, n, deployments, seed) for name, n in places)
    else:
        jobs = [pool.submit(_cells, name, n, deployments, seed) for name, n in places]
        found = (job.result() for job in jobs)
    for cells in found:
        yield from cells


def _cells(name: str, n: int, deployments: int, seed: int) -> list[Cell]:
    """Every procedure on the same draws of one curve and size."""
    curve = CURVES[name]
    truth = Truth.of(curve)
    rng = np.random.default_rng([seed, list(CURVES).index(name), n])
    outcomes: dict[str, list[Outcome]] = {procedure: [] for procedure in PROCEDURES}
    for _ in range(deployments):
        rows = draw(curve, n, rng)
        for procedure, (deploy, _) in PROCEDURES.items():
            outcomes[procedure].append(deploy(rows, truth, rng))
    return [
        _cell(name, n, procedure, guaranteed, outcomes[procedure])
        for procedure, (_, guaranteed) in PROCEDURES.items()
    ]


def _cell(curve: str, n: int, procedure: str, guaranteed: bool, outcomes: list[Outcome]) -> Cell:
    broken, coverage = np.array(outcomes, dtype=float).T
    return Cell(
        curve=curve,
        n_calibration=n,
        procedure=procedure,
        guaranteed=guaranteed,
        broken=float(broken.mean()),
        refused=float((coverage == 0).mean()),
        coverage=float(coverage.mean()),
        excess=float(broken.mean()) - DELTA - 3 * standard_error(len(outcomes)),
    )


def standard_error(deployments: int) -> float:
    """Of the share of deployments that break a promise, where it is delta."""
    return float(np.sqrt(DELTA * (1 - DELTA) / deployments))
