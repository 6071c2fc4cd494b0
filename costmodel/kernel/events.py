"""A binary heap of events: the earliest is always at place 0."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

from costmodel.kernel.compiled import compiled, record_of
from costmodel.kernel.layout import EVENT

event_at = record_of(EVENT)


@compiled
def push(heap: int, n: int, at: float, who: int) -> int:
    """Put an event on a heap of n; return the new size."""
    i = n
    while i > 0:
        parent = (i - 1) >> 1
        if event_at(heap, parent).at <= at:
            break
        event_at(heap, i).at = event_at(heap, parent).at
        event_at(heap, i).who = event_at(heap, parent).who
        i = parent
    event_at(heap, i).at = at
    event_at(heap, i).who = who
    return n + 1


@compiled
def schedule(x: Any, heap: int, n: int, now: float, at: float, who: int) -> int:
    """Put an event of the future on a heap of n; return the new size."""
    if not at >= now:
        x.past += 1
    return push(heap, n, at, who)


@compiled
def remove(heap: int, n: int, who: int) -> int:
    """Remove whatever is to happen to one of a few; return the new size."""
    kept = 0
    for k in range(n):
        at, other = event_at(heap, k).at, event_at(heap, k).who
        if other != who:
            kept = push(heap, kept, at, other)
    return kept


@compiled
def pop(heap: int, n: int) -> int:
    """Remove the earliest event, which the caller has read; return the new size."""
    n -= 1
    at, who = event_at(heap, n).at, event_at(heap, n).who
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and event_at(heap, child + 1).at < event_at(heap, child).at:
            child += 1
        if event_at(heap, child).at >= at:
            break
        event_at(heap, i).at = event_at(heap, child).at
        event_at(heap, i).who = event_at(heap, child).who
        i = child
    event_at(heap, i).at = at
    event_at(heap, i).who = who
    return n
