"""Random numbers and the tables they are looked up in.

Random numbers are splitmix64 counters (Steele, Lea & Flood, OOPSLA 2014), one stream for each
purpose. Two scenarios with one seed therefore see the same arrivals, lengths and confidences: a
what-if is a paired comparison.
"""

# numpy records have fields mypy cannot see: `p`, `x` and the like are Any.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from costmodel.kernel.compiled import bits_of, compiled, inlined, record_of
from costmodel.kernel.layout import (
    CONSTANT,
    COUNTER,
    EXPONENTIAL,
    LOGNORMAL,
    TAIL_FROM,
    TAIL_STEPS,
    VALUE,
)

_counter_at = record_of(COUNTER)
_value_at = record_of(VALUE)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0
_TAIL_BITS = TAIL_STEPS.bit_length() - 1
_TAIL_SHIFT = 52 - _TAIL_BITS
_TAIL_CELL = 1.0 / (1 << _TAIL_SHIFT)


@inlined
def table(x: Any, at: int) -> float:
    """Read one value of the tables."""
    return _value_at(x.tables, at).it


@compiled
def uniform(x: Any, stream: int) -> float:
    """Draw from [0, 1)."""
    counter = _counter_at(x.rng, stream)
    counter.n += _GOLDEN
    z = counter.n
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    z = z ^ (z >> _S31)
    return float(z >> _S11) * _TO_UNIT


@compiled
def exponential(x: Any, stream: int) -> float:
    """Draw with mean 1."""
    return -math.log(1.0 - uniform(x, stream))


@compiled
def normal(x: Any, stream: int) -> float:
    """Draw from the standard normal law."""
    radius = math.sqrt(2.0 * exponential(x, stream))
    return radius * math.cos(2.0 * math.pi * uniform(x, stream))


@compiled
def gamma(x: Any, stream: int, shape: float) -> float:
    """Draw with mean 1 (Marsaglia & Tsang, ACM TOMS 26, 2000; boosted below shape 1)."""
    k = shape if shape >= 1.0 else shape + 1.0
    d = k - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        z = normal(x, stream)
        v = 1.0 + c * z
        if v <= 0.0:
            continue
        v = v * v * v
        if math.log(1.0 - uniform(x, stream)) < 0.5 * z * z + d - d * v + d * math.log(v):
            break
    draw = d * v
    if shape < 1.0:
        draw *= math.exp(math.log(1.0 - uniform(x, stream)) / shape)
    return draw / shape


@compiled
def quantile_at(x: Any, at: int, n: int, rank: float) -> float:
    """Read a table of quantiles, straight lines between its points."""
    if n == 1:
        return table(x, at)
    place = rank * (n - 1)
    cell = min(int(place), n - 2)
    low = table(x, at + cell)
    return low + (place - cell) * (table(x, at + cell + 1) - low)


@compiled
def length_at(x: Any, at: int, n: int, tail_at: int, tail_n: int, rank: float) -> float:
    """Read a table of lengths; beyond rank 1 - 1 / TAIL_FROM from a table of its own.

    That one has TAIL_STEPS cells to an octave of 1 - rank and ends where it takes over: a straight
    line from there to the longest would overstate the second moment by a sixth.
    """
    left = (1.0 - rank) * TAIL_FROM
    if tail_n == 0 or left >= 1.0:
        return quantile_at(x, at, n, rank)
    b = bits_of(left)
    back = (1023 << _TAIL_BITS) - (b >> _TAIL_SHIFT)  # cells from the end
    cell = tail_at + tail_n - 1 - back
    if cell < tail_at:
        return table(x, tail_at)
    place = (b & ((1 << _TAIL_SHIFT) - 1)) * _TAIL_CELL
    return table(x, cell) + place * (table(x, cell + 1) - table(x, cell))


@compiled
def noise(kind: int, sigma: float, at: int, n: int, x: Any, stream: int) -> float:
    """Draw a factor of mean 1."""
    if kind == CONSTANT:
        return 1.0
    if kind == EXPONENTIAL:
        return exponential(x, stream)
    if kind == LOGNORMAL:
        return math.exp(sigma * normal(x, stream) - 0.5 * sigma * sigma)
    return quantile_at(x, at, n, uniform(x, stream))
