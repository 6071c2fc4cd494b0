"""What is to happen to a call unless it has ended by then: it is slow, or its caller leaves."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

from costmodel.kernel.calls import GONE, call_at, engine_at
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import event_at, push, schedule

_TURN = 32
"""Bits above which an event says whose turn at its place it speaks of."""
LOW = (1 << _TURN) - 1


@compiled
def remind(slot: int, t: float, at: float, kind: int, p: Any, x: Any) -> None:
    """Put an event of a call, which is left out once the call has ended."""
    if x.pending >= x.reminders_most:
        _forget(p, x)
    who = kind + slot + (call_at(x.calls, slot).turn << _TURN)
    x.pending = schedule(x, x.events, x.pending, t, at, who)


@compiled
def is_due(who: int, p: Any, x: Any) -> bool:
    """Whether what an event speaks of is still there: its call, or the engine in its turn."""
    turn, what = who >> _TURN, who & LOW
    engine = what - 3 * x.places
    if engine >= 0:
        return engine >= p.engines_most or engine_at(x.engines, engine).turn == turn
    if turn == 0:
        return True
    call = call_at(x.calls, what % x.places)
    return call.turn == turn and call.done == 0 and call.status != GONE


@compiled
def _forget(p: Any, x: Any) -> None:
    """Take out the events of calls that have ended."""
    n = 0
    for k in range(x.pending):
        at, who = event_at(x.events, k).at, event_at(x.events, k).who
        if is_due(who, p, x):
            n = push(x.events, n, at, who)
    x.pending = n
