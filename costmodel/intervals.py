"""Intervals of counted shares: exact for one look, and valid however often one looks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from costmodel.errors import BadProjection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating]


def upper_bound(count: npt.ArrayLike, n: npt.ArrayLike, delta: float) -> Floats:
    """One-sided exact (Clopper-Pearson) upper bound on a rate, at confidence 1 - delta.

    Broadcasts over counts and sizes; n = 0 bounds nothing and returns 1.
    """
    import numpy as np
    from scipy.special import betaincinv

    k, size = np.broadcast_arrays(np.asarray(count), np.asarray(n))
    bound = betaincinv(k + 1, np.maximum(size - k, 1), 1 - delta)
    return np.where(k >= size, 1.0, bound)


def lower_bound(count: npt.ArrayLike, n: npt.ArrayLike, delta: float) -> Floats:
    """One-sided exact lower bound on a rate, at confidence 1 - delta; as `upper_bound`."""
    import numpy as np
    from scipy.special import betaincinv

    k, size = np.broadcast_arrays(np.asarray(count), np.asarray(n))
    bound = betaincinv(np.maximum(k, 1), size - np.maximum(k, 1) + 1, delta)
    return np.where(k <= 0, 0.0, bound)


def binomial_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a proportion (Clopper and Pearson, 1934).

    Args:
        count: rows that had the property.
        n: rows that were looked at.
        confidence: coverage of the interval, in (0, 1).

    Raises:
        BadProjection: the counts cannot have happened.
    """
    if n < 1 or not 0 <= count <= n:
        raise BadProjection(
            f"{count} of {n} rows cannot be a share; 0 ≤ count ≤ n, n ≥ 1 is needed"
        )
    tail = (1 - confidence) / 2
    return float(lower_bound(count, n, tail)), float(upper_bound(count, n, tail))


def confidence_sequence(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a rate that holds at every n at once, also where the rate moves.

    However often one looks, and whenever one stops, all the intervals together cover the mean of
    the rates so far with probability `confidence`. At each of many odds m against a rate p,
    m^count / (1 - p + m p)^n is at most a martingale at that mean, because the logarithm of the
    denominator is concave; their mixture reaches 1 / (1 - confidence) with probability at most
    1 - confidence, and a mean is in the interval while it stays below (Robbins 1970; Howard,
    Ramdas, McAuliffe and Sekhon 2021).

    Args:
        count: rows that had the property.
        n: rows that were looked at; 0 says nothing and returns (0, 1).
        confidence: of the whole sequence, in (0, 1).

    Raises:
        BadProjection: the counts cannot have happened.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import logsumexp

    if not 0 <= count <= n:
        raise BadProjection(f"{count} of {n} rows cannot be a share; 0 ≤ count ≤ n is needed")
    if n == 0:
        return 0.0, 1.0
    up = np.geomspace(1e-3, 8.0, 200)  # log odds: the finest tells rates apart after 1e6 rows
    log_odds = np.concatenate([-up, up])
    limit = math.log(log_odds.size / (1.0 - confidence))

    def excess(rate: float) -> float:
        terms = log_odds * count - n * np.log1p(rate * np.expm1(log_odds))
        return float(logsumexp(terms)) - limit

    best, tiny = count / n, 1e-15
    low = 0.0 if count == 0 or excess(tiny) < 0 else float(brentq(excess, tiny, best))
    high = 1.0 if count == n or excess(1 - tiny) < 0 else float(brentq(excess, best, 1 - tiny))
    return low, high
