"""How much may be spent on escalations, and on which ones when that is not enough for all."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import deque
from decimal import Decimal
from typing import Protocol

from router.clock import Clock
from router.teacher.token_bucket import TokenBucket

_LEARNING_RATE = 0.05
BURST_S = 60.0
"""A bucket holds what comes in during this time."""


class Dollars(Protocol):
    """A bucket of dollars: a `TokenBucket`, or this process's part of one that many share."""

    @property
    def per_s(self) -> float | None:
        """What comes in each second; None: there is no limit."""
        ...

    def fill(self, now: float) -> float:
        """Return the share of it that is there; 0 or less: nothing may be spent."""
        ...

    def take(self, amount: float) -> None:
        """Spend, whether or not there is enough."""
        ...


class Budget(Protocol):
    """How much may be spent at a teacher: on escalations, on what is passed on, on audits."""

    def allows(self, value: float) -> bool:
        """Whether one more call is within the budget now.

        `value`, in [0, 1], is what it is worth: the probability that the student is wrong; 1
        where there is no student to answer, 0 where nobody waits for the answer.
        """
        ...

    def spend(self, usd: Decimal | None) -> None:
        """Book what a call cost; None when it has no known price."""
        ...

    @property
    def fill(self) -> float:
        """How much of it is left: 1 is all, 0 or less nothing."""
        ...


class EscalationBudget:
    """Two token buckets, dollars an hour and calls a second, spent where they are worth most.

    While the buckets are at least half full every escalation is allowed. Below that, only those of
    highest value: the value of an escalation is the probability that the student is wrong, and the
    share allowed is what the refill can pay of the recent demand. An empty bucket allows none.
    Spending in flight may overdraw it by what is in flight; the debt is paid before more is spent.

    Args:
        usd: what escalations may cost; None for no limit in dollars.
        per_second: how many there may be; None for no limit in number.
        burst_s: the bucket of calls holds what comes in during this time.
    """

    def __init__(
        self,
        *,
        usd: Dollars | None = None,
        per_second: float | None = None,
        burst_s: float = BURST_S,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self._usd: Dollars = usd or TokenBucket(None, burst_s, clock())
        self._calls = TokenBucket(per_second, burst_s, clock())
        self._demand = _Demand()
        self._usd_per_call = 0.0

    def allows(self, value: float = 1.0) -> bool:
        """Whether an escalation of this value, in [0, 1], may be made now; if so, it is counted."""
        now = self._clock()
        self._demand.add(now, value)
        fill = min(self._usd.fill(now), self._calls.fill(now))
        if fill <= 0.0 or (fill < 0.5 and value < self._demand.cutoff(self._affordable())):
            return False
        self._calls.take(1.0)
        return True

    def spend(self, usd: Decimal | None) -> None:
        """Book what an escalation cost. One without a known price cannot be counted in dollars."""
        if usd is not None:
            cost = float(usd)
            rate = _LEARNING_RATE if self._usd_per_call else 1.0
            self._usd_per_call += rate * (cost - self._usd_per_call)
            self._usd.take(cost)

    @property
    def fill(self) -> float:
        """How full the emptier bucket is: 1 is full, 0 or less is empty."""
        now = self._clock()
        return min(self._usd.fill(now), self._calls.fill(now))

    def _affordable(self) -> float:
        """Calls a second that the refill pays for."""
        by_usd = float("inf")
        if self._usd.per_s is not None and self._usd_per_call:
            by_usd = self._usd.per_s / self._usd_per_call
        by_calls = float("inf") if self._calls.per_s is None else self._calls.per_s
        return min(by_usd, by_calls)


class _Demand:
    """The values of the last escalations that were wanted, and how fast they came."""

    def __init__(self, remembered: int = 512) -> None:
        self._recent: deque[tuple[float, float]] = deque()
        self._values: list[float] = []
        self._remembered = remembered

    def add(self, now: float, value: float) -> None:
        self._recent.append((now, value))
        insort(self._values, value)
        if len(self._recent) > self._remembered:
            _, oldest = self._recent.popleft()
            del self._values[bisect_left(self._values, oldest)]

    def cutoff(self, affordable_per_s: float) -> float:
        """The value at and above which the recent demand is affordable."""
        seconds = self._recent[-1][0] - self._recent[0][0]
        if seconds <= 0.0:
            return 0.0
        share = affordable_per_s * seconds / len(self._recent)
        if share >= 1.0:
            return 0.0
        return self._values[min(len(self._values) - 1, int((1.0 - share) * len(self._values)))]
