"""Percentiles that can be asked for, and how many answers each needs to be more than a guess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Percentile = Literal["p50", "p75", "p90", "p95", "p99", "p99.9", "max"]

QUANTILES: Mapping[Percentile, float] = {
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p99.9": 0.999,
    "max": 1.0,
}
MIN_SAMPLES: Mapping[Percentile, int] = {
    "p50": 20,
    "p75": 40,
    "p90": 100,
    "p95": 200,
    "p99": 1000,
    "p99.9": 10_000,
    "max": 1,
}
"""At least ten samples beyond the percentile; with fewer it is a guess: it is not shown, and a
limit on it is not kept."""
