"""How the router asks a teacher: the rules of its guard, as numbers that a scenario may change."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from costmodel.fields import NotNegative, Positive, Share
from costmodel.frozen import Frozen

SLOTS = 8
"""Calls to one teacher at once, where the task file says nothing."""
TIMEOUT_S = 10.0
"""One attempt and its retry together."""
SLOT_WAIT_S = 0.05
"""The router's own patience with a teacher whose slots are all taken; as many may wait as slots."""


class Asking(Frozen):
    """When the router does not ask, or asks again. The defaults are the router's own."""

    retry_jitter_s: NotNegative = 0.05
    """The pause before the one retry is drawn up to this, on top of a Retry-After."""
    retry_ratio: NotNegative = 0.1
    """Retries that each call pays for."""
    retry_reserve: NotNegative = 3.0
    retry_most: NotNegative = 10.0
    """Retries that may be saved up."""
    throttle_k: Positive = 2.0
    """Calls are refused once more than this many are sent for one that is accepted."""
    throttle_window_s: Positive = 5.0
    throttle_least: int = Field(default=10, ge=1)
    """Calls in the window below which none is refused."""
    throttle_most: Share = 0.9
    """Share of the calls that is refused at most: the others find out when it is over."""
    slow_share: Positive = 0.8
    """An answer that took this share of the time-out is a sign of congestion."""
    limit_backoff: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Factor on the slots in use when there is one."""
    least_slots_of: int = Field(default=8, ge=1)
    """Never fewer slots than one of so many."""
    retry_after_most_s: NotNegative = 60.0
    """A Retry-After is obeyed up to here."""
    hedge: bool = False
    """Whether a call that is slower than 95 % of the recent ones is asked a second time, beside."""
    audits_of: int = Field(default=4, ge=1)
    """At most one of so many slots' worth of audits at once."""
