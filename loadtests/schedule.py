"""When requests leave and what they carry: fixed before the first is sent, from the seed alone.

Every process computes the whole schedule and takes each n-th arrival, so that the merged traffic
is the same whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from loadtests.spec import LoadSpec

BLOCK = 4096


class Arrival(NamedTuple):
    """One request to send. `offset_s` counts from the measured window; warm-up is negative."""

    offset_s: float
    row: int
    """Position in the list of rows (not the file's row number)."""


def arrivals(spec: LoadSpec, n_rows: int, worker: int = 0) -> Iterator[Arrival]:
    """Yield the arrivals of one worker in order, first the warm-up, then the measured window."""
    warmup_seed, window_seed, row_seed = np.random.SeedSequence(spec.seed).spawn(3)
    rows = np.arange(n_rows)
    if spec.order == "shuffled":
        np.random.default_rng(row_seed).shuffle(rows)
    # The warm-up takes rows from the end, so that the window starts at the first and, when the
    # file is long enough, asks nothing that the warm-up has asked.
    warmup = np.concatenate(
        [*instants(spec, spec.warmup_s, np.random.default_rng(warmup_seed)), np.empty(0)]
    )
    for i in range(worker, len(warmup), spec.processes):
        yield Arrival(float(warmup[i]) - spec.warmup_s, int(rows[(i - len(warmup)) % n_rows]))
    i = 0
    for block in instants(spec, spec.duration_s, np.random.default_rng(window_seed)):
        for offset in block.tolist():
            if i % spec.processes == worker:
                yield Arrival(offset, int(rows[i % n_rows]))
            i += 1


def instants(
    spec: LoadSpec, length_s: float, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield blocks of ascending instants in [0, length_s)."""
    start, sent = 0.0, 0
    while True:
        if spec.arrivals == "constant":
            block = np.arange(sent, sent + BLOCK) / spec.rate
        else:
            block = start + np.cumsum(rng.exponential(1.0 / spec.rate, BLOCK))
        inside = block[block < length_s]
        if len(inside):
            yield inside
        if len(inside) < BLOCK:
            return
        start, sent = float(block[-1]), sent + BLOCK
