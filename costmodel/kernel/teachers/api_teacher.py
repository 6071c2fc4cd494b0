"""A teacher behind an API: slots, a latency law, rate limits, failures and one retry."""

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
    call_at,
    expire,
    free_place,
    leave,
    patience,
    settle,
    waited,
)
from costmodel.kernel.chance import noise, uniform
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
from costmodel.kernel.layout import R_FAIL, R_GUARD, R_TEACHER
from costmodel.kernel.tally import occupy, row_at, there

INF = np.inf

# --- the service behind the API --------------------------------------------------------------


@compiled
def accepts(t: float, tokens: int, p: Any, x: Any) -> bool:
    """Spend from the two token buckets of the rate limit, or say no."""
    past = t - x.filled_at
    x.filled_at = t
    if p.calls_per_s < INF:
        x.calls_left = min(p.calls_burst, x.calls_left + past * p.calls_per_s)
    if p.tokens_per_s < INF:
        x.tokens_left = min(p.tokens_burst, x.tokens_left + past * p.tokens_per_s)
    if x.calls_left < 1.0 or x.tokens_left < tokens:
        return False
    if p.calls_per_s < INF:
        x.calls_left -= 1.0
    if p.tokens_per_s < INF:
        x.tokens_left -= tokens
    return True


@compiled
def service_s(accepted: bool, read: int, written: int, p: Any, x: Any) -> float:
    """Draw how long an answer takes, or a 429."""
    factor = noise(
        p.teacher_noise, p.teacher_sigma, p.teacher_noise_table_at, p.teacher_noise_table_n,
        x, R_TEACHER,
    )  # fmt: skip
    if not accepted:
        return p.reject_s * factor
    return (p.base_s + p.per_input_s * read + p.per_output_s * written) * factor


@compiled
def fails(p: Any, x: Any) -> bool:
    """Draw whether a call that was accepted ends in an error."""
    return p.teacher_failure_rate > 0.0 and uniform(x, R_FAIL) < p.teacher_failure_rate


@compiled
def _attempt(slot: int, t: float, p: Any, x: Any) -> None:
    """Try once: the outcome is known now and happens when its event comes up.

    An attempt that failed is billed what was sent; one that was cancelled, what was sent and all
    that would have been written: the safe side.
    """
    call = call_at(x.calls, slot)
    payer = call if call.parent < 0 else call_at(x.calls, call.parent)
    payer.tries += 1
    call.began = t
    accepted = accepts(t, call.read + call.written, p, x)
    end = t + service_s(accepted, call.read, call.written, p, x)
    late = end > call.deadline
    if accepted:
        failed = fails(p, x) and not late
        bill(payer, 0 if failed else call.written, failed, late, x)
        call.status = FAILED if failed else OK
    else:
        call.status = REJECTED
        row_at(x.rows, call.row).calls_throttled += 1
    if late:
        end = call.deadline
        call.status = LATE
    x.pending = schedule(x, x.events, x.pending, t, end, slot)
    if payer.tries == 1:
        slow = t + slow_s(p, x)
        if slow < end:
            x.pending = schedule(x, x.events, x.pending, t, slow, x.places + slot)


# --- slots -----------------------------------------------------------------------------------


@compiled
def begin_call(slot: int, t: float, p: Any, x: Any) -> bool:
    """Give a call a slot, unless the teacher must be spared; whether it was made."""
    closed = is_closed(t, x)
    if closed or spares(t, p, x):
        there(t, -1, x)
        leave(slot, t, CLOSED if closed else SPARED, p, x)
        return False
    occupy(t, 1, p, x)
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
    while x.waiting + x.shadows > 0 and x.busy < limit(x):
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
    """An attempt ended, or the pause before the next one did."""
    call = call_at(x.calls, slot)
    if call.status == GONE:
        free_place(slot, x)
        return
    if call.status == RETRY:
        _attempt(slot, t, p, x)
        return
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
    if x.busy >= limit(x) or x.free < 0 or not pays_retry(x):
        return
    call, second = call_at(x.calls, slot), x.free
    child = call_at(x.calls, second)
    x.free = child.next
    child.arrived, child.offered, child.deadline = call.arrived, call.offered, call.deadline
    child.read, child.written, child.audit, child.row = (
        call.read,
        call.written,
        call.audit,
        call.row,
    )
    child.parent, child.child, child.next = slot, -1, -1
    call.child, call.hedged = second, 1
    occupy(t, 1, p, x)
    _attempt(second, t, p, x)


@compiled
def _cancel(slot: int, t: float, p: Any, x: Any) -> None:
    """Break the other attempt off: it is billed in full, as nobody knows how far it was."""
    other = call_at(x.calls, slot)
    payer = other if other.parent < 0 else call_at(x.calls, other.parent)
    if other.status == REJECTED:
        bill(payer, other.written, False, True, x)
    elif other.status == FAILED:
        payer.billed_written += other.written
        row_at(x.rows, payer.row).output_tokens += other.written
    other.status = GONE
    if other.parent >= 0:
        _free_slot(t, p, x)


@compiled
def _end_hedge(slot: int, t: float, p: Any, x: Any) -> None:
    """The second attempt ended: the call with it, if it answered or the first one has failed."""
    child = call_at(x.calls, slot)
    status, first = child.status, child.parent
    call = call_at(x.calls, first)
    call.child = -1
    free_place(slot, x)
    _free_slot(t, p, x)
    if status == OK:
        there(t, -1, x)
        settle(first, t, OK, p, x)
        if call.stranded == 1:
            free_place(first, x)
        else:
            _cancel(first, t, p, x)
        _free_slot(t, p, x)
    elif call.stranded == 1:
        end = _retries(call, first, t, p, x)
        there(t, -1, x)
        leave(first, t, end, p, x)
        _free_slot(t, p, x)
