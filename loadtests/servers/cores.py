"""Cores of their own for the server and for the generator, so that neither takes from the other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

Cores = frozenset[int]


def divide(cores: Cores, processes: int) -> tuple[Cores, Cores] | None:
    """Return the server's cores and the generator's: one a process, half of them at most.

    None where there is only one core, which they have to share.
    """
    ordered = sorted(cores)
    ours = min(processes, len(ordered) // 2)
    return (Cores(ordered[:-ours]), Cores(ordered[-ours:])) if ours else None


@contextlib.contextmanager
def own_cores(processes: int) -> Iterator[Cores | None]:
    """Keep this process and its children to the generator's cores; yield the server's.

    Yields None, and keeps nothing, where there is one core or the system cannot pin.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    divided = divide(Cores(before), processes)
    if divided is None:
        yield None
        return
    os.sched_setaffinity(0, divided[1])
    try:
        yield divided[0]
    finally:
        os.sched_setaffinity(0, before)
