"""Exact binomial arithmetic: what counts prove about a rate."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

POWER = 0.80
MOST_ROWS = 1_000_000


def upper_bound(count: npt.ArrayLike, n: npt.ArrayLike, delta: float) -> Floats:
    """One-sided exact (Clopper-Pearson) upper bound on a rate, at confidence 1 - delta.

    Broadcasts over counts and sizes; n = 0 bounds nothing and returns 1.
    """
    k, size = np.broadcast_arrays(np.asarray(count), np.asarray(n))
    bound = stats.beta.ppf(1 - delta, k + 1, np.maximum(size - k, 1e-300))
    return np.where(k >= size, 1.0, bound)


def allowed_disagreements(n: npt.ArrayLike, alpha: float, delta: float) -> Ints:
    """Most disagreements in n rows that still prove a rate of at most alpha; -1 where none does.

    It is the largest k with P(Binomial(n, alpha) <= k) <= delta, the same k at which the exact
    upper bound reaches alpha.
    """
    size = np.asarray(n)
    k = stats.binom.ppf(delta, size, alpha).astype(np.int64)
    k = np.where(stats.binom.cdf(k, size, alpha) <= delta, k, k - 1)
    return np.where(size == 0, -1, k)


def rows_to_prove(
    alpha: float, delta: float, rate: float = 0.0, power: float = POWER
) -> int | None:
    """Rows from which on a rate <= alpha is proved with this power if `rate` is the truth.

    Returns None where no practical number does (the rate is not well below alpha).
    """
    zero = math.ceil(math.log(delta) / math.log1p(-alpha))
    if rate <= 0.0:
        return zero
    if rate >= alpha:
        return None

    def powerful(n: Ints) -> Bools:
        passed: Bools = stats.binom.cdf(allowed_disagreements(n, alpha, delta), n, rate) >= power
        return passed

    high = zero
    while not powerful(np.asarray(high)):
        high *= 2
        if high > MOST_ROWS:
            return None
    # Power is a saw-tooth in n: what counts is the last n that falls short.
    short = np.flatnonzero(~powerful(np.arange(zero, 2 * high + 1)))
    return zero + (int(short[-1]) + 1 if short.size else 0)
