"""The cores that this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many there are: two threads on one core would take turns."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
