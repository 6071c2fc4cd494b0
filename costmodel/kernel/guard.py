"""The router's guard: the twin of `router.teacher`, which decides whether a call is made at all.

A throttle that spares a teacher which does not accept, a limit on slots that follows how calls end,
a budget for retries, a door that a Retry-After closes. A twin test plays both through the same
arrivals.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.chance import table, uniform
from costmodel.kernel.compiled import compiled, record_of
from costmodel.kernel.layout import R_GUARD, RECENT_MOST, SENT, WANTED, WANTED_MOST, WINDOW

INF = np.inf
_sent_at = record_of(SENT)
_wanted_at = record_of(WANTED)


@compiled
def limit(x: Any) -> int:
    """Slots that may be used now."""
    return max(1, int(x.slots))


@compiled
def _remember(last: int, n: int, place: int, most: int, value: float) -> None:
    """Overwrite the oldest of the last n values at a place, and keep them in order as well."""
    newest = _wanted_at(last, place)
    at = n
    if n == most:
        at = 0
        while _wanted_at(last, at).ordered != newest.value:
            at += 1
        while at < n - 1:
            _wanted_at(last, at).ordered = _wanted_at(last, at + 1).ordered
            at += 1
    while at > 0 and _wanted_at(last, at - 1).ordered > value:
        _wanted_at(last, at).ordered = _wanted_at(last, at - 1).ordered
        at -= 1
    _wanted_at(last, at).ordered = value
    newest.value = value


# --- the throttle ----------------------------------------------------------------------------


@compiled
def _count_sent(t: float, asked: int, accepted: int, p: Any, x: Any) -> None:
    slot = int(t / (p.throttle_window_s / WINDOW))
    sent = _sent_at(x.sent, slot % WINDOW)
    if sent.slot != slot:
        sent.slot, sent.asked, sent.accepted = slot, 0, 0
    sent.asked += asked
    sent.accepted += accepted


@compiled
def spares(t: float, p: Any, x: Any) -> bool:
    """Draw whether this call must not be sent; one that is not counts as asked for."""
    slot, asked, accepted = int(t / (p.throttle_window_s / WINDOW)), 0, 0
    for k in range(WINDOW):
        sent = _sent_at(x.sent, k)
        if sent.slot > slot - WINDOW:
            asked += sent.asked
            accepted += sent.accepted
    if asked < p.throttle_least:
        return False
    share = min(p.throttle_most, max(0.0, (asked - p.throttle_k * accepted) / (asked + 1)))
    if share > 0.0 and uniform(x, R_GUARD) < share:
        _count_sent(t, 1, 0, p, x)
        return True
    return False


# --- what calls teach ------------------------------------------------------------------------


@compiled
def learn(
    t: float, seconds: float, allowed_s: float, answered: bool, late: bool, p: Any, x: Any
) -> None:
    """Learn from how an attempt ended; a caller in a hurry proves nothing."""
    if answered:
        x.answers += 1
        x.usual_s += max(_LEARNING_RATE, 1.0 / x.answers) * (seconds - x.usual_s)
        if p.hedge == 1:
            _remember(x.recent, x.recent_n, x.recent_next, RECENT_MOST, seconds)
            x.recent_n = min(RECENT_MOST, x.recent_n + 1)
            x.recent_next = (x.recent_next + 1) % RECENT_MOST
    if late and allowed_s < 2.0 * x.usual_s:
        return
    _count_sent(t, 1, 1 if answered else 0, p, x)
    if not answered or seconds > p.slow_s:
        x.slots = max(float(p.least_slots), x.slots * p.limit_backoff)
    elif x.taken >= x.slots / 2.0:
        x.slots = min(float(p.slots), x.slots + 1.0 / x.slots)


_LEARNING_RATE = 0.05


@compiled
def close_door(t: float, p: Any, x: Any) -> None:
    """Obey a Retry-After for everybody."""
    if p.retry_after_s >= 0.0:
        x.closed_until = max(x.closed_until, t + min(p.retry_after_s, p.retry_after_most_s))


@compiled
def is_closed(t: float, x: Any) -> bool:
    """Whether a Retry-After is still to be obeyed."""
    return x.closed_until - t > 0.0


@compiled
def slow_s(p: Any, x: Any) -> float:
    """Seconds that 95 % of the recent answers stayed within; for ever while there are too few."""
    if p.hedge == 0 or x.recent_n < 20:
        return INF
    return _wanted_at(x.recent, int(0.95 * x.recent_n)).ordered


# --- budgets ---------------------------------------------------------------------------------


@compiled
def pay_in(p: Any, x: Any) -> None:
    """A first attempt pays for a part of a retry."""
    x.retries = min(p.retry_most, x.retries + p.retry_ratio)


@compiled
def pays_retry(x: Any) -> bool:
    """Pay for one retry, or say no."""
    if x.retries < 1.0:
        return False
    x.retries -= 1.0
    return True


@compiled
def _cutoff(t: float, p: Any, x: Any) -> float:
    """The value at and above which the recent demand is affordable."""
    n = x.wanted_n
    oldest = 0 if n < WANTED_MOST else x.wanted_next
    seconds = t - _wanted_at(x.wanted, oldest).at
    if seconds <= 0.0:
        return 0.0
    affordable = p.budget_per_s
    if p.usd_per_s < INF and x.usd_per_call > 0.0:
        affordable = min(affordable, p.usd_per_s / x.usd_per_call)
    share = affordable * seconds / n
    if share >= 1.0:
        return 0.0
    return _wanted_at(x.wanted, min(n - 1, int((1.0 - share) * n))).ordered


@compiled
def within_budget(t: float, value: float, p: Any, x: Any) -> bool:
    """Spend one call, or say no: below half, only those of highest value are allowed."""
    _remember(x.wanted, x.wanted_n, x.wanted_next, WANTED_MOST, value)
    _wanted_at(x.wanted, x.wanted_next).at = t
    x.wanted_n = min(WANTED_MOST, x.wanted_n + 1)
    x.wanted_next = (x.wanted_next + 1) % WANTED_MOST
    fill = 1.0
    if p.budget_per_s < INF:
        x.budget_left = min(p.budget_burst, x.budget_left + (t - x.budget_at) * p.budget_per_s)
        x.budget_at = t
        fill = x.budget_left / p.budget_burst
    if p.usd_per_s < INF:
        x.usd_left = min(p.usd_burst, x.usd_left + (t - x.usd_at) * p.usd_per_s)
        x.usd_at = t
        fill = min(fill, x.usd_left / p.usd_burst)
    if fill <= 0.0 or (fill < 0.5 and value < _cutoff(t, p, x)):
        return False
    x.budget_left -= 1.0
    return True


@compiled
def pays_audit(t: float, p: Any, x: Any) -> bool:
    """Whether the audits' own dollars pay for one more."""
    if p.audit_usd_per_s == INF:
        return True
    grown = x.audit_usd_left + (t - x.audit_usd_at) * p.audit_usd_per_s
    x.audit_usd_left = min(p.audit_usd_burst, grown)
    x.audit_usd_at = t
    return x.audit_usd_left > 0.0


@compiled
def spend(call: Any, p: Any, x: Any) -> None:
    """Book what the attempts of a call cost, at the tier of their size."""
    usd = 0.0
    if call.billed > 0:
        size = (call.billed_read + call.billed - 1) // call.billed
        row = p.prices_at
        while row + 4 < p.prices_at + p.prices_n and table(x, row + 4) < size:
            row += 4
        usd = (
            call.billed * table(x, row + 1)
            + call.billed_read * table(x, row + 2)
            + call.billed_written * table(x, row + 3)
        )
    rate = _LEARNING_RATE if x.usd_per_call > 0.0 else 1.0
    x.usd_per_call += rate * (usd - x.usd_per_call)
    x.usd_left -= usd
    if call.audit == 1:
        x.audit_usd_left -= usd
