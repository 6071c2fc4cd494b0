"""A teacher behind an API: slots, a latency law, rate limits, failures and retries."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.engine.kernel.calls import (
    FAILED,
    LATE,
    OK,
    REJECTED,
    RETRY,
    bill,
    call_at,
    expire,
    leave,
    patience,
    waited,
)
from costmodel.engine.kernel.chance import noise, uniform
from costmodel.engine.kernel.compiled import compiled
from costmodel.engine.kernel.events import schedule
from costmodel.engine.kernel.layout import R_RETRY, R_TEACHER
from costmodel.engine.kernel.tally import occupy, row_at, there

INF = np.inf


@compiled
def _allowed(t: float, tokens: int, p: Any, x: Any) -> bool:
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
def _attempt(slot: int, t: float, p: Any, x: Any) -> None:
    """Try once: the outcome is known now and happens when its event comes up.

    An attempt that failed is billed what was sent; one that was cancelled, what was sent and all
    that would have been written: the safe side.
    """
    call = call_at(x.calls, slot)
    call.tries += 1
    if _allowed(t, call.read + call.written, p, x):
        factor = noise(
            p.teacher_noise, p.teacher_sigma, p.teacher_noise_table_at, p.teacher_noise_table_n,
            x, R_TEACHER,
        )  # fmt: skip
        work = p.base_s + p.per_input_s * call.read + p.per_output_s * call.written
        end = t + work * factor
        failed = False
        if p.teacher_failure_rate > 0.0:
            failed = uniform(x, R_RETRY) < p.teacher_failure_rate
        late = end > call.deadline
        bill(call, 0 if failed else call.written, failed, late, x)
        call.status = FAILED if failed else OK
    else:
        end = t + p.reject_s
        call.status = REJECTED
        row_at(x.rows, call.row).calls_throttled += 1
    if end > call.deadline:
        end = call.deadline
        call.status = LATE
    x.pending = schedule(x, x.events, x.pending, t, end, slot)


@compiled
def begin_call(slot: int, t: float, p: Any, x: Any) -> None:
    """Give a waiting call a slot."""
    occupy(t, 1, p, x)
    waited(call_at(x.calls, slot), t, x)
    _attempt(slot, t, p, x)


@compiled
def wait_for_slot(slot: int, x: Any) -> None:
    """Queue a call behind those that wait."""
    if x.first < 0:
        x.first = x.last = slot
    else:
        call_at(x.calls, x.last).next = slot
        x.last = slot


@compiled
def give_up(t: float, p: Any, x: Any) -> None:
    """Let those go whose patience is over."""
    while x.first >= 0 and patience(call_at(x.calls, x.first), p) <= t:
        waiting = x.first
        x.first = call_at(x.calls, waiting).next
        expire(waiting, t, p, x)


@compiled
def slot_event(slot: int, t: float, p: Any, x: Any) -> None:
    """An attempt ended, or the pause before the next one did."""
    call = call_at(x.calls, slot)
    status = call.status
    if status == RETRY:
        _attempt(slot, t, p, x)
        return
    if status in (FAILED, REJECTED) and call.tries < p.max_attempts:
        pause = p.backoff_s * 2.0 ** (call.tries - 1) * uniform(x, R_RETRY)
        if t + pause < call.deadline:
            call.status = RETRY
            x.pending = schedule(x, x.events, x.pending, t, t + pause, slot)
            return
    there(t, -1, x)
    occupy(t, -1, p, x)
    leave(slot, t, status, p, x)
    while x.first >= 0:
        waiting = x.first
        x.first = call_at(x.calls, waiting).next
        if patience(call_at(x.calls, waiting), p) > t:
            begin_call(waiting, t, p, x)
            return
        expire(waiting, t, p, x)
