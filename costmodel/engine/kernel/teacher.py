"""The teacher's side: who asks, and what happens there up to a moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.engine.kernel.api_teacher import begin_call, give_up, slot_event, wait_for_slot
from costmodel.engine.kernel.calls import call_at
from costmodel.engine.kernel.compiled import compiled
from costmodel.engine.kernel.events import event_at, pop
from costmodel.engine.kernel.hosted_teacher import join, step_end
from costmodel.engine.kernel.layout import CONTINUOUS
from costmodel.engine.kernel.tally import degrade, row_at, there

INF = np.inf


@compiled
def advance(until: float, p: Any, x: Any) -> None:
    """Let the teacher's side run up to a moment."""
    while x.pending > 0 and event_at(x.events, 0).at <= until:
        t, who = event_at(x.events, 0).at, event_at(x.events, 0).who
        x.pending = pop(x.events, x.pending)
        if who < x.places:
            slot_event(who, t, p, x)
        else:
            step_end(who - x.places, t, p, x)


@compiled
def ask(t: float, request: Any, wrong: int, bare: int, audit: int, p: Any, x: Any) -> None:
    """Hand one request to the teacher's side, unless its time is up: then nothing is sent."""
    row = request.row
    deadline = t + p.teacher_timeout_s
    if audit == 0:
        deadline = min(deadline, request.arrived + p.deadline_s)
        if deadline <= t:
            row_at(x.rows, row).teacher_deadline += 1
            degrade(p, x, row, t - request.arrived, wrong, bare)
            return
    advance(t, p, x)
    if p.max_wait_s < INF:
        give_up(t, p, x)
    slot = x.free
    if slot < 0:
        if audit == 1:
            row_at(x.rows, row).audits_lost += 1
        else:
            row_at(x.rows, row).teacher_busy += 1
            degrade(p, x, row, t - request.arrived, wrong, bare)
        return
    call = call_at(x.calls, slot)
    x.free = call.next
    call.arrived, call.offered, call.deadline = request.arrived, t, deadline
    call.read = int(p.prompt_tokens + p.token_ratio * request.tokens + 0.5)
    least = 1 if p.teacher_kind == CONTINUOUS else 0  # a classifier's API writes nothing
    call.written = max(least, int(request.output + 0.5))
    call.tries, call.next = 0, -1
    call.audit, call.wrong, call.bare, call.row = audit, wrong, bare, row
    there(t, 1, x)
    if p.teacher_kind == CONTINUOUS:
        join(slot, t, p, x)
    elif x.busy < p.slots:
        begin_call(slot, t, p, x)
    else:
        wait_for_slot(slot, x)
