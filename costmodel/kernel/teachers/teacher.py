"""The teacher's side: who asks, and what happens there up to a moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.calls import (
    CLOSED,
    GONE,
    NO_SLOT,
    NO_TIME,
    OK,
    TOO_LONG,
    call_at,
    free_place,
    take_place,
    turn_away,
)
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import event_at, pop
from costmodel.kernel.guard import is_closed, limit, pays_audit, within_budget
from costmodel.kernel.layout import CONTINUOUS
from costmodel.kernel.tally import row_at, there
from costmodel.kernel.teachers.engine_fleet import change_engine, rescale_engines
from costmodel.kernel.teachers.hosted_teacher import blocks_of, step_end
from costmodel.kernel.teachers.reminders import LOW, is_due
from costmodel.kernel.teachers.slots import (
    attempt_ended,
    begin_call,
    give_up,
    hedge_event,
    late_event,
    slot_event,
    wait_for_slot,
)

INF = np.inf


@compiled
def advance(until: float, p: Any, x: Any) -> None:
    """Let the teacher's side run up to a moment."""
    while x.pending > 0 and event_at(x.events, 0).at <= until:
        t, who = event_at(x.events, 0).at, event_at(x.events, 0).who
        x.pending = pop(x.events, x.pending)
        if who < x.places:
            slot_event(who, t, p, x)
        elif is_due(who, p, x):
            _happen(who & LOW, t, p, x)


@compiled
def _happen(what: int, t: float, p: Any, x: Any) -> None:
    """A call is slow or late, or an engine has finished a step."""
    if what < 2 * x.places:
        hedge_event(what - x.places, t, p, x)
    elif what < 3 * x.places:
        late_event(what - 2 * x.places, t, p, x)
    else:
        _machines(what - 3 * x.places, t, p, x)
        while x.ended_first >= 0:
            slot = x.ended_first
            x.ended_first = call_at(x.calls, slot).next
            if call_at(x.calls, slot).status == GONE:
                free_place(slot, x)
            else:
                attempt_ended(slot, t, p, x)


@compiled
def _machines(what: int, t: float, p: Any, x: Any) -> None:
    """An engine has finished a step, comes or goes, or their number is looked at."""
    if what < p.engines_most:
        step_end(what, t, p, x)
    elif what < 2 * p.engines_most:
        change_engine(what - p.engines_most, t, p, x)
    else:
        rescale_engines(t, p, x)


@compiled
def affords(t: float, value: float, p: Any, x: Any) -> bool:
    """Whether the budgets pay for one more call, once all that has ended by now is booked."""
    if p.budget_per_s == INF and p.usd_per_s == INF:
        return True
    advance(t, p, x)
    return within_budget(t, value, p, x)


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
    paid = affords(t, 0.0, p, x) and pays_audit(t, p, x)
    if (
        not paid
        or x.auditing >= p.audits_most
        or _offer(t, request, t + p.teacher_timeout_s, 1, p, x) != OK
    ):
        row_at(x.rows, request.row).audits_lost += 1
        return
    x.auditing += 1
    _enter(x.offered, t, p, x)


@compiled
def _offer(t: float, request: Any, deadline: float, shadow: int, p: Any, x: Any) -> int:
    """Make a call of a request (`x.offered`), if one may be made and may wait."""
    advance(t, p, x)
    if is_closed(t, x):
        return CLOSED
    if p.few_wait == 1:
        give_up(t, p, x)
        if x.taken >= limit(x) and x.waiting + x.shadows >= limit(x):
            return NO_SLOT
    if x.free < 0:
        return NO_SLOT
    slot = x.free
    call = call_at(x.calls, slot)
    call.arrived, call.offered, call.deadline = request.arrived, t, deadline
    call.read = int(p.prompt_tokens + p.token_ratio * request.tokens + 0.5)
    least = 1 if p.teacher_kind == CONTINUOUS else 0  # a classifier's API writes nothing
    call.written = max(least, int(request.output + 0.5))
    if p.teacher_kind == CONTINUOUS and blocks_of(call.read + call.written - 1, p) > p.kv_blocks:
        return TOO_LONG
    take_place(x)
    call.doubt, call.audit, call.wrong, call.bare = request.doubt, shadow, 0, 0
    call.row = request.row
    x.offered = slot
    return OK


@compiled
def _enter(slot: int, t: float, p: Any, x: Any) -> None:
    """A call begins, or waits."""
    there(t, 1, x)
    if x.taken < limit(x):
        begin_call(slot, t, p, x)
    else:
        wait_for_slot(slot, x)
