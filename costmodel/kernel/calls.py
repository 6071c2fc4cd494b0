"""One call to a teacher, whatever kind it is: it waits, is billed, and leaves."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

from costmodel.kernel.compiled import compiled, inlined, record_of
from costmodel.kernel.guard import spend
from costmodel.kernel.layout import CALL, ENGINE, LOG, T_STAY, T_WAIT, TEACHER
from costmodel.kernel.tally import (
    around,
    count_latency,
    count_stage,
    degrade,
    row_at,
    there,
)

(
    OK,
    LATE,
    FAILED,
    REJECTED,
    RETRY,
    NO_SLOT,
    CLOSED,
    SPARED,
    NO_RETRY,
    NO_TIME,
    NO_BUDGET,
    TOO_LONG,
    GONE,
) = range(13)
"""How a call ends, or why it is not made: answered, past its deadline, failed, 429, (pausing before
the retry), no slot, Retry-After obeyed, spared by the router, no retry left, no time, no budget,
longer than the engine's cache, (cancelled: its event comes for nothing)."""
call_at = record_of(CALL)
engine_at = record_of(ENGINE)
_entry_at = record_of(LOG)


@compiled
def _note(asked: Any, t: float, status: int, audit: int, x: Any) -> Any:
    """Write a line of the log, which has room, of a request or a call."""
    entry = _entry_at(x.log, x.logged)
    x.logged += 1
    entry.arrived, entry.left, entry.status, entry.audit = asked.arrived, t, status, audit
    entry.value = asked.doubt
    return entry


@compiled
def turn_away(request: Any, t: float, status: int, wrong: int, bare: int, p: Any, x: Any) -> None:
    """The teacher was wanted and is not asked."""
    if x.logged < x.log_n:
        _note(request, t, status, 0, x)
    _count_unanswered(status, row_at(x.rows, request.row))
    degrade(p, x, request.row, t - request.arrived, wrong, bare)


@inlined
def _count_unanswered(status: int, r: Any) -> None:
    if status == LATE:
        r.teacher_timeout += 1
    elif status == FAILED:
        r.teacher_unavailable += 1
    elif status in (REJECTED, CLOSED):
        r.teacher_throttled += 1
    elif status == SPARED:
        r.breaker_open += 1
    elif status == NO_RETRY:
        r.retry_budget += 1
    elif status == NO_TIME:
        r.teacher_deadline += 1
    elif status == NO_BUDGET:
        r.escalation_budget += 1
    elif status == TOO_LONG:
        r.teacher_rejected += 1
    else:
        r.teacher_busy += 1


@inlined
def patience(call: Any, p: Any) -> float:
    """The moment at which a call that still waits for a slot gives up."""
    return min(call.deadline, call.offered + p.max_wait_s)


@compiled
def waited(call: Any, t: float, x: Any) -> None:
    """A call has got its slot."""
    wait = t - call.offered
    row_at(x.rows, call.row).in_teacher_wait_s += wait
    count_stage(x, call.row, T_WAIT, wait)


@compiled
def bill(call: Any, written: int, failed: bool, cancelled: bool, x: Any) -> None:
    """Count one attempt that reached the teacher; audits in columns of their own."""
    r = row_at(x.rows, call.row)
    call.billed += 1
    call.billed_read += call.read
    call.billed_written += written
    if call.audit == 1:
        r.audit_calls += 1
        r.audit_input_tokens += call.read
        r.audit_output_tokens += written
    else:
        r.teacher_calls += 1
        r.input_tokens += call.read
        r.output_tokens += written
        if failed or cancelled:
            r.lost_calls += 1
            r.lost_input_tokens += call.read
            r.lost_output_tokens += written
    if failed:
        r.calls_failed += 1
    elif cancelled:
        r.calls_cancelled += 1


@compiled
def bill_broken_off(payer: Any, other: Any, x: Any) -> None:
    """Make a cancelled attempt of one that was billed for what would have come of it: in full.

    One that would have been late was billed so when it began.
    """
    r = row_at(x.rows, payer.row)
    if other.status == FAILED:
        r.calls_failed -= 1
        r.calls_cancelled += 1
        payer.billed_written += other.written
        if payer.audit == 1:
            r.audit_output_tokens += other.written
        else:
            r.output_tokens += other.written
            r.lost_output_tokens += other.written
    elif other.status == OK:
        r.calls_cancelled += 1
        if payer.audit == 0:
            r.lost_calls += 1
            r.lost_input_tokens += payer.read
            r.lost_output_tokens += other.written


@compiled
def free_place(slot: int, x: Any) -> None:
    """A place may be used by the next call."""
    call_at(x.calls, slot).next = x.free
    x.free = slot


@compiled
def take_place(x: Any) -> int:
    """Take the next free place, which there is."""
    slot = x.free
    call = call_at(x.calls, slot)
    x.free = call.next
    call.turn += 1
    call.tries = call.billed = call.billed_read = call.billed_written = 0
    call.hedged = call.stranded = 0
    call.computed = call.generated = call.blocks = call.shared = call.started = call.chunk = 0
    call.engine = call.dropped = call.done = call.status = 0
    call.first_token = 0.0
    call.child, call.parent, call.next = -1, -1, -1
    return slot


@compiled
def drop(call: Any, x: Any) -> None:
    """Nobody waits for what an engine computes for this call."""
    if call.engine > 0 and call.dropped == 0:
        call.dropped = 1
        engine = engine_at(x.engines, call.engine - 1)
        engine.load -= 1
        engine.dropped += 1


@compiled
def let_go(slot: int, x: Any) -> None:
    """The router is done with a call; its place is free once no engine has it either."""
    call = call_at(x.calls, slot)
    call.done = 1
    if call.engine > 0:
        drop(call, x)
    else:
        free_place(slot, x)


@compiled
def leave(slot: int, t: float, status: int, p: Any, x: Any) -> None:
    """End one call at time t and let its place go."""
    settle(slot, t, status, p, x)
    let_go(slot, x)


@compiled
def settle(slot: int, t: float, status: int, p: Any, x: Any) -> None:
    """Count how one call ended at time t."""
    call = call_at(x.calls, slot)
    row = call.row
    r = row_at(x.rows, row)
    stay = t - call.offered
    x.teacher_sum += stay
    r.in_teacher_s += stay
    count_stage(x, row, T_STAY, stay)
    if call.audit == 1:
        if status != OK:
            r.audits_lost += 1
    elif status == OK:
        seconds = t - call.arrived + around(p, x)
        r.teacher += 1
        r.teacher_s += seconds
        count_latency(x, row, TEACHER, seconds)
    else:
        _count_unanswered(status, r)
        degrade(p, x, row, t - call.arrived, call.wrong, call.bare)
    x.auditing -= call.audit
    if p.prices_n > 0 and call.tries > 0:
        spend(call, p, x)
    if x.logged < x.log_n:
        entry = _note(call, t, status, call.audit, x)
        entry.first_token = call.first_token
        entry.tries, entry.read, entry.written = call.tries, call.billed_read, call.billed_written


@compiled
def left(slot: int, at: float, noticed: float, status: int, p: Any, x: Any) -> None:
    """A call left at a moment that is noticed now."""
    there(noticed, -1, x)
    x.teacher_area -= noticed - at
    leave(slot, at, status, p, x)


@compiled
def expire(slot: int, t: float, p: Any, x: Any) -> None:
    """A call whose patience ended while it queued: it left then, and is noticed at t."""
    left(slot, patience(call_at(x.calls, slot), p), t, NO_SLOT, p, x)
