"""The teacher's side: who asks, and what happens there up to a moment."""

from __future__ import annotations

from typing import Any

from costmodel.kernel.calls import CLOSED, NO_SLOT, NO_TIME, OK, TOO_LONG, call_at, turn_away
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import event_at, pop
from costmodel.kernel.guard import is_closed, limit
from costmodel.kernel.layout import CONTINUOUS, SLOTS
from costmodel.kernel.tally import row_at, there
from costmodel.kernel.teachers.api_teacher import (
    begin_call,
    give_up,
    hedge_event,
    slot_event,
    wait_for_slot,
)
from costmodel.kernel.teachers.hosted_teacher import blocks_of, join, step_end


@compiled
def advance(until: float, p: Any, x: Any) -> None:
    """Let the teacher's side run up to a moment."""
    while x.pending > 0 and event_at(x.events, 0).at <= until:
        t, who = event_at(x.events, 0).at, event_at(x.events, 0).who
        x.pending = pop(x.events, x.pending)
        if who < x.places:
            slot_event(who, t, p, x)
        elif p.teacher_kind == SLOTS:
            hedge_event(who - x.places, t, p, x)
        else:
            step_end(who - x.places, t, p, x)


@compiled
def ask(t: float, request: Any, wrong: int, bare: int, p: Any, x: Any) -> None:
    """Hand one request to the teacher's side, unless the router would not."""
    deadline = min(t + p.teacher_timeout_s, request.arrived + p.deadline_s)
    if deadline <= t:
        turn_away(request, t, NO_TIME, wrong, bare, p, x)
        return
    why = _offer(t, request, deadline, 0, p, x)
    if why != OK:
        turn_away(request, t, why, wrong, bare, p, x)
        return
    call = call_at(x.calls, x.offered)
    call.wrong, call.bare = wrong, bare
    _enter(x.offered, t, p, x)


@compiled
def audit(t: float, request: Any, p: Any, x: Any) -> None:
    """Ask about an answer that went out: a few at a time, behind everybody else."""
    if x.auditing >= p.audits_most or _offer(t, request, t + p.teacher_timeout_s, 1, p, x) != OK:
        row_at(x.rows, request.row).audits_lost += 1
        return
    x.auditing += 1
    _enter(x.offered, t, p, x)


@compiled
def _offer(t: float, request: Any, deadline: float, shadow: int, p: Any, x: Any) -> int:
    """Make a call of a request (`x.offered`), if one may be made and may wait."""
    advance(t, p, x)
    if p.teacher_kind == SLOTS:
        if is_closed(t, x):
            return CLOSED
        if p.few_wait == 1:
            give_up(t, p, x)
            if x.busy >= limit(x) and x.waiting + x.shadows >= limit(x):
                return NO_SLOT
    slot = x.free
    if slot < 0:
        return NO_SLOT
    call = call_at(x.calls, slot)
    call.arrived, call.offered, call.deadline = request.arrived, t, deadline
    call.read = int(p.prompt_tokens + p.token_ratio * request.tokens + 0.5)
    least = 1 if p.teacher_kind == CONTINUOUS else 0  # a classifier's API writes nothing
    call.written = max(least, int(request.output + 0.5))
    if p.teacher_kind == CONTINUOUS and blocks_of(call.read + call.written - 1, p) > p.kv_blocks:
        return TOO_LONG
    x.free = call.next
    call.computed = call.generated = call.blocks = call.shared = call.started = call.chunk = 0
    call.doubt, call.first_token = request.doubt, 0.0
    call.child, call.parent, call.hedged, call.stranded = -1, -1, 0, 0
    call.tries, call.next, call.billed_read, call.billed_written = 0, -1, 0, 0
    call.audit, call.wrong, call.bare, call.row = shadow, 0, 0, request.row
    x.offered = slot
    return OK


@compiled
def _enter(slot: int, t: float, p: Any, x: Any) -> None:
    """A call begins, or waits."""
    there(t, 1, x)
    if p.teacher_kind == CONTINUOUS:
        join(slot, t, p, x)
    elif x.busy < limit(x):
        begin_call(slot, t, p, x)
    else:
        wait_for_slot(slot, x)
