"""A teacher behind an API: a latency law, rate limits, failures."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.calls import FAILED, LATE, OK, REJECTED, bill, call_at
from costmodel.kernel.chance import noise, uniform
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import schedule
from costmodel.kernel.layout import R_FAIL, R_TEACHER
from costmodel.kernel.tally import row_at

INF = np.inf


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
def answer(slot: int, payer: Any, t: float, p: Any, x: Any) -> float:
    """Call the API: what comes of it is known now and happens at the moment returned.

    An attempt that failed is billed what was sent; one that was cancelled, what was sent and all
    that would have been written: the safe side.
    """
    call = call_at(x.calls, slot)
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
    return end
