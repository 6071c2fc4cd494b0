"""The router's side of every attempt: a slot, an attempt, a retry or a hedge, an end.

What answers stands behind it: an API (`api_teacher`) or engines (`hosted_teacher`).
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.calls import (
    CLOSED,
    FAILED,
    GONE,
    LATE,
    NO_RETRY,
    OK,
    REJECTED,
    RETRY,
    SPARED,
    bill,
    bill_broken_off,
    call_at,
    drop,
    expire,
    free_place,
    leave,
    let_go,
    patience,
    settle,
    take_place,
    waited,
)
from costmodel.kernel.chance import uniform
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import schedule
from costmodel.kernel.guard import (
    close_door,
    is_closed,
    learn,
    limit,
    pay_in,
    pays_retry,
    slow_s,
    spares,
)
from costmodel.kernel.layout import R_GUARD, SLOTS
from costmodel.kernel.tally import occupy, there
from costmodel.kernel.teachers.api_teacher import answer
from costmodel.kernel.teachers.hosted_teacher import join
from costmodel.kernel.teachers.reminders import remind

INF = np.inf


@compiled
def _attempt(slot: int, t: float, p: Any, x: Any) -> None:
    """Try once. A hosted teacher tells when it is done; its caller leaves at the deadline."""
    call = call_at(x.calls, slot)
    payer = call if call.parent < 0 else call_at(x.calls, call.parent)
    payer.tries += 1
    call.began = t
    if p.teacher_kind == SLOTS:
        end = answer(slot, payer, t, p, x)
    else:
        end, call.status = call.deadline, OK
        if join(slot, t, p, x):
            remind(slot, t, end, 2 * x.places, p, x)
        else:  # nobody is there to take it
            call.status = FAILED
            end = min(end, t + p.reject_s)
            x.pending = schedule(x, x.events, x.pending, t, end, slot)
    if payer.tries == 1:
        slow = t + slow_s(p, x)
        if slow < end:
            remind(slot, t, slow, x.places, p, x)


@compiled
def late_event(slot: int, t: float, p: Any, x: Any) -> None:
    """The caller of a hosted teacher leaves; what was computed until then is billed."""
    call = call_at(x.calls, slot)
    if call.engine == 0 or call.dropped == 1:
        return
    _bill_dropped(call, p, x)
    drop(call, x)
    call.status = LATE
    attempt_ended(slot, t, p, x)


@compiled
def _bill_dropped(call: Any, p: Any, x: Any) -> None:
    payer = call if call.parent < 0 else call_at(x.calls, call.parent)
    if call.started == 1:
        bill(payer, call.generated if p.abort == 1 else call.written, False, True, x)


# --- slots -----------------------------------------------------------------------------------


@compiled
def _take_slot(t: float, p: Any, x: Any) -> None:
    x.taken += 1
    if p.teacher_kind == SLOTS:
        occupy(t, 1, p, x)


@compiled
def begin_call(slot: int, t: float, p: Any, x: Any) -> bool:
    """Give a call a slot, unless the teacher must be spared; whether it was made."""
    closed = is_closed(t, x)
    if closed or spares(t, p, x):
        there(t, -1, x)
        leave(slot, t, CLOSED if closed else SPARED, p, x)
        return False
    _take_slot(t, p, x)
    if p.teacher_kind == SLOTS:
        waited(call_at(x.calls, slot), t, x)
    pay_in(p, x)
    _attempt(slot, t, p, x)
    return True


@compiled
def wait_for_slot(slot: int, x: Any) -> None:
    """Queue a call behind those that wait; audits behind everybody else."""
    if call_at(x.calls, slot).audit == 1:
        x.shadows += 1
        if x.shadow_first < 0:
            x.shadow_first = slot
        else:
            call_at(x.calls, x.shadow_last).next = slot
        x.shadow_last = slot
    else:
        x.waiting += 1
        if x.first < 0:
            x.first = slot
        else:
            call_at(x.calls, x.last).next = slot
        x.last = slot


@compiled
def _next_waiting(shadow: bool, x: Any) -> int:
    """Take the first of one of the two lines."""
    if shadow:
        x.shadows -= 1
        slot = x.shadow_first
        x.shadow_first = call_at(x.calls, slot).next
    else:
        x.waiting -= 1
        slot = x.first
        x.first = call_at(x.calls, slot).next
    call_at(x.calls, slot).next = -1
    return slot


@compiled
def give_up(t: float, p: Any, x: Any) -> None:
    """Let those go whose patience is over, wherever they stand."""
    for shadow, n in ((False, x.waiting), (True, x.shadows)):
        for _ in range(n):
            slot = _next_waiting(shadow, x)
            if patience(call_at(x.calls, slot), p) <= t:
                expire(slot, t, p, x)
            else:
                wait_for_slot(slot, x)


@compiled
def fill_slots(t: float, p: Any, x: Any) -> None:
    """Give the slots that are free to those that wait."""
    while x.waiting + x.shadows > 0 and x.taken < limit(x):
        slot = _next_waiting(x.waiting == 0, x)
        if patience(call_at(x.calls, slot), p) > t:
            begin_call(slot, t, p, x)
        else:
            expire(slot, t, p, x)


@compiled
def _judge(call: Any, t: float, p: Any, x: Any) -> None:
    """Let the guard learn from an attempt that has ended."""
    status = call.status
    learn(t, t - call.began, call.deadline - call.began, status == OK, status == LATE, p, x)
    if status == REJECTED:
        close_door(t, p, x)
    fill_slots(t, p, x)


@compiled
def _free_slot(t: float, p: Any, x: Any) -> None:
    x.taken -= 1
    if p.teacher_kind == SLOTS:
        occupy(t, -1, p, x)
    fill_slots(t, p, x)


@compiled
def _retries(call: Any, slot: int, t: float, p: Any, x: Any) -> int:
    """Ask once more if that is wanted and paid for (RETRY), or say how the call ends."""
    status = call.status
    if status not in (FAILED, REJECTED) or (p.max_attempts < 2 and call.hedged == 0):
        return status
    pause = p.retry_jitter_s * uniform(x, R_GUARD)
    if (
        call.tries > 1
        or t + pause + max(0.0, _asked_to_wait(status, p)) + x.usual_s >= call.deadline
    ):
        return status
    if not pays_retry(x):
        return NO_RETRY
    end = t + (max(0.0, _asked_to_wait(status, p)) + pause)
    x.pending = schedule(x, x.events, x.pending, t, end, slot)
    return RETRY


@compiled
def _asked_to_wait(status: int, p: Any) -> float:
    return p.retry_after_s if status == REJECTED else 0.0


@compiled
def slot_event(slot: int, t: float, p: Any, x: Any) -> None:
    """An attempt at an API ended, or the pause before the next one did."""
    status = call_at(x.calls, slot).status
    if status == GONE:
        free_place(slot, x)
    elif status == RETRY:
        _attempt(slot, t, p, x)
    else:
        attempt_ended(slot, t, p, x)


@compiled
def attempt_ended(slot: int, t: float, p: Any, x: Any) -> None:
    """An attempt ended: the call with it, unless it is asked once more or beside."""
    call = call_at(x.calls, slot)
    _judge(call, t, p, x)
    if call.parent >= 0:
        _end_hedge(slot, t, p, x)
    elif call.child >= 0 and call.status != OK:
        call.stranded = 1  # its second attempt may still answer
    else:
        if call.child >= 0:
            _cancel(call.child, t, p, x)
        end = call.status if call.tries > 1 and call.hedged == 0 else _retries(call, slot, t, p, x)
        if end == RETRY:
            call.status = RETRY
        else:
            there(t, -1, x)
            leave(slot, t, end, p, x)
            _free_slot(t, p, x)


# --- hedging ---------------------------------------------------------------------------------


@compiled
def hedge_event(slot: int, t: float, p: Any, x: Any) -> None:
    """A first attempt is slow: a second one beside it, if there is a slot and it is paid for."""
    call = call_at(x.calls, slot)
    if call.tries > 1 or call.status == RETRY:
        return
    if x.taken >= limit(x) or x.free < 0 or not pays_retry(x):
        return
    second = take_place(x)
    child = call_at(x.calls, second)
    child.arrived, child.offered, child.deadline = call.arrived, call.offered, call.deadline
    child.read, child.written, child.audit, child.row = (
        call.read,
        call.written,
        call.audit,
        call.row,
    )
    child.parent = slot
    call.child, call.hedged = second, 1
    _take_slot(t, p, x)
    _attempt(second, t, p, x)


@compiled
def _cancel(slot: int, t: float, p: Any, x: Any) -> None:
    """Break the other attempt off: it is billed in full, as nobody knows how far it was."""
    other = call_at(x.calls, slot)
    payer = other if other.parent < 0 else call_at(x.calls, other.parent)
    waits = other.engine > 0
    if waits:
        _bill_dropped(other, p, x)
    elif other.status == REJECTED:
        bill(payer, other.written, False, True, x)
    else:
        bill_broken_off(payer, other, x)
    other.status = GONE
    if waits:
        let_go(slot, x)
    if other.parent >= 0:
        _free_slot(t, p, x)


@compiled
def _end_hedge(slot: int, t: float, p: Any, x: Any) -> None:
    """The second attempt ended: the call with it, if it answered or the first one has failed."""
    child = call_at(x.calls, slot)
    status, first = child.status, child.parent
    call = call_at(x.calls, first)
    call.child = -1
    let_go(slot, x)
    _free_slot(t, p, x)
    if status == OK:
        there(t, -1, x)
        settle(first, t, OK, p, x)
        if call.stranded == 1:
            let_go(first, x)
        else:
            _cancel(first, t, p, x)
        _free_slot(t, p, x)
    elif call.stranded == 1:
        end = _retries(call, first, t, p, x)
        there(t, -1, x)
        leave(first, t, end, p, x)
        _free_slot(t, p, x)
