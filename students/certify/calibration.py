"""One temperature that makes the student's probabilities readable as such.

It changes who is escalated hardly or not at all: confidence is only rescaled. It is fitted on rows
used neither for training nor for the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from students.confidence import Kind, confidence

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

COLDEST, HOTTEST = 0.05, 20.0
ROWS_AT_ONCE = 4096
SHOWN = 2.0
"""Standard errors by which margin has to rank worse before max probability is taken."""
FEWEST_WRONG = 10
"""Fewer wrong rows show nothing."""


def fit_temperature(logits: Floats, teacher: Floats) -> float:
    """Find T in [0.05, 20] of least cross-entropy between teacher and softmax(logits / T).

    Args:
        logits: student's, shape (N, K).
        teacher: soft labels (N, K); rows are weighed by their label mass.

    Returns:
        The temperature; 1.0 when there are no rows to fit it on.
    """
    if len(logits) == 0:
        return 1.0
    return _best(_CrossEntropy(logits, teacher))


def _best(loss: _CrossEntropy) -> float:
    """Return the temperature of least loss."""
    # It is convex in 1/T and so has one minimum in log T.
    found = minimize_scalar(
        lambda log_t: loss.at(math.exp(log_t)),
        bounds=(math.log(COLDEST), math.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(math.exp(found.x))


def calibrated_kl(logits: Floats, teacher: Floats) -> float:
    """KL(teacher || student) in nats per row, at the student's own best temperature.

    For comparing students that were trained at different temperatures.
    """
    if len(logits) == 0:
        return math.inf
    loss, uncertain = _CrossEntropy(logits, teacher), 0.0
    for rows in _blocks(len(teacher)):
        target = teacher[rows].astype(np.float64)
        share = target / np.maximum(target.sum(axis=1, keepdims=True), 1e-12)
        uncertain -= (target * np.log(np.maximum(share, 1e-12))).sum()
    return loss.at(_best(loss)) - float(uncertain) / loss.mass


def ranking_kind(probabilities: Floats, teacher: Ints) -> Kind:
    """Choose how to score confidence: by margin, unless these rows show that it ranks worse.

    What a promise over all traffic pays for is the area under the share of rows that are kept and
    disagree, over all coverages (AUGRC): the mean over the wrong rows of how many rank behind them.
    So the wrong rows are the sample, in pairs of two ranks, and `SHOWN` standard errors of their
    mean difference decide. Hundreds of rows hold some tens of wrong ones: the smaller area alone
    is as often luck. With two labels all kinds give the same order.

    Args:
        probabilities: student's, shape (N, K), as calibrated.
        teacher: teacher's labels, shape (N,), of rows used neither for training nor for the
            threshold.
    """
    if probabilities.shape[1] <= 2:
        return "max_probability"
    wrong = probabilities.argmax(axis=1) != teacher

    def behind(kind: Kind) -> Floats:
        ranks: Floats = rankdata(confidence(probabilities, kind))[wrong]
        return ranks

    more = behind("margin") - behind("max_probability")
    if more.size < FEWEST_WRONG or not more.any():
        return "margin"
    error = more.std(ddof=1) / math.sqrt(more.size)
    return "max_probability" if more.mean() > SHOWN * error else "margin"


class _CrossEntropy:
    """Nats per label mass between teacher and softmax(logits / T), both (N, K).

    Of a row with label mass m and scores s that is m log sum exp(s / T) - p s / T: how the scores
    go with the teacher is counted once, whatever is asked of T.
    """

    def __init__(self, logits: Floats, teacher: Floats) -> None:
        self._logits, self._top = logits, logits.max(axis=1, keepdims=True)
        self._masses, self._along = np.zeros(len(logits)), 0.0
        for rows in _blocks(len(logits)):
            target = teacher[rows].astype(np.float64)
            self._masses[rows] = target.sum(axis=1)
            self._along += float((target * self._below_top(rows)).sum())
        self.mass = float(self._masses.sum())

    def at(self, temperature: float) -> float:
        """Return it at that T."""
        spread = 0.0
        for rows in _blocks(len(self._logits)):
            sums = np.exp(self._below_top(rows) / temperature).sum(axis=1, dtype=np.float64)
            spread += float(self._masses[rows] @ np.log(sums))
        return float((spread - self._along / temperature) / self.mass)

    def _below_top(self, rows: slice) -> Floats:
        """Return scores of some rows, less the highest of each: no sum overflows."""
        below: Floats = self._logits[rows] - self._top[rows]
        return below


def _blocks(n: int) -> Iterator[slice]:
    """Yield some rows at a time: copies of all would be many times the labels."""
    for start in range(0, n, ROWS_AT_ONCE):
        yield slice(start, start + ROWS_AT_ONCE)
