"""Exact intervals of counted shares."""

from __future__ import annotations

from costmodel.errors import BadProjection


def binomial_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a proportion (Clopper and Pearson, 1934).

    Args:
        count: rows that had the property.
        n: rows that were looked at.
        confidence: coverage of the interval, in (0, 1).

    Raises:
        BadProjection: the counts cannot have happened.
    """
    from scipy.special import betaincinv

    if n < 1 or not 0 <= count <= n:
        raise BadProjection(
            f"{count} of {n} rows cannot be a share; 0 ≤ count ≤ n, n ≥ 1 is needed"
        )
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, tail))
    high = 1.0 if count == n else float(betaincinv(count + 1, n - count, 1 - tail))
    return low, high
