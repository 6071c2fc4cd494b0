"""Exact binomial arithmetic: what counts prove about a rate."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

POWER = 0.80
MOST_ROWS = 1_000_000


def allowed_disagreements(n: npt.ArrayLike, alpha: float, delta: float) -> Ints:
    """Most disagreements in n rows that still prove a rate of at most alpha; -1 where none does.

    It is the largest k with P(Binomial(n, alpha) <= k) <= delta, the same k at which the exact
    upper bound reaches alpha.
    """
    size = np.asarray(n)
    # The inverse is real-valued and right to a few ulp: it and its neighbours are tried.
    near = np.floor(special.bdtrik(delta, np.maximum(size, 1), alpha)).astype(np.int64)
    most = np.full(size.shape, -1)
    for k in (near - 1, near, near + 1):
        proved = (k >= 0) & (k < size) & (special.bdtr(np.maximum(k, 0), size, alpha) <= delta)
        most = np.where(proved, k, most)
    return most


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
        passed: Bools = special.bdtr(allowed_disagreements(n, alpha, delta), n, rate) >= power
        return passed

    # Power is a saw-tooth in n with a tooth about every 1 / alpha rows; over two teeth it only
    # rises, so that can be bisected, and what counts is the last n that falls short.
    teeth = np.arange(math.ceil(2.0 / alpha))

    def steady(n: int) -> bool:
        return bool(powerful(n + teeth).all())

    low, high = zero - 1, zero
    while not steady(high):
        low, high = high, 2 * high
        if high > MOST_ROWS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if steady(middle) else (middle, high)
    return high
