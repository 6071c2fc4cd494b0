"""When not to send: the SRE book's client-side throttle, a budget for retries."""

from __future__ import annotations

import random
import time
from collections import deque

from router.clock import Clock


class AdaptiveThrottle:
    """Refuses a growing share of calls to a backend that stopped accepting them.

    The share is p = max(0, (requests - K * accepts) / (requests + 1)) over a sliding window
    (Google SRE book, chapter 21, "Client-side throttling"; K = 2). Refused calls count as requests,
    as there. Two additions: below `min_requests` nothing is refused, and `max_refusal` keeps
    probes going, so that recovery is noticed (Envoy's admission control caps it likewise).
    """

    def __init__(
        self,
        *,
        k: float = 2.0,
        window_s: float = 5.0,
        min_requests: int = 10,
        max_refusal: float = 0.9,
        clock: Clock = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._k = k
        self._min_requests = min_requests
        self._max_refusal = max_refusal
        self._clock = clock
        self._rng = rng or random.Random()
        self._requests = _SlidingCount(window_s)
        self._accepts = _SlidingCount(window_s)

    @property
    def refusal_probability(self) -> float:
        """The share of calls that is refused now, in [0, max_refusal]."""
        now = self._clock()
        requests, accepts = self._requests.total(now), self._accepts.total(now)
        if requests < self._min_requests:
            return 0.0
        p = (requests - self._k * accepts) / (requests + 1)
        return min(self._max_refusal, max(0.0, p))

    def refuses(self) -> bool:
        """Draw whether this call must not be sent; a refused call is recorded as a request."""
        p = self.refusal_probability
        if p and self._rng.random() < p:
            self._requests.add(self._clock())
            return True
        return False

    def record(self, accepted: bool) -> None:
        """Record the outcome of a call that was sent, unless it proves nothing."""
        now = self._clock()
        self._requests.add(now)
        if accepted:
            self._accepts.add(now)


class RetryBudget:
    """Lets retries be at most `reserve` plus a share `ratio` of the calls made.

    A token bucket: each call deposits `ratio`, each retry withdraws 1, and no more than
    `max_balance` is kept, so that a quiet hour does not finance a storm.
    """

    def __init__(
        self, *, ratio: float = 0.1, reserve: float = 3.0, max_balance: float = 10.0
    ) -> None:
        self._ratio = ratio
        self._max_balance = max_balance
        self._balance = reserve

    def deposit(self) -> None:
        """Record one first attempt."""
        self._balance = min(self._max_balance, self._balance + self._ratio)

    def withdraw(self) -> bool:
        """Pay for one retry; False when the budget does not allow it."""
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True


class _SlidingCount:
    """Events of the last `window_s` seconds, in ten buckets: O(1) and bounded memory."""

    def __init__(self, window_s: float, buckets: int = 10) -> None:
        self._width = window_s / buckets
        self._length = buckets
        self._buckets: deque[tuple[int, int]] = deque()
        self._total = 0

    def add(self, now: float) -> None:
        slot = int(now / self._width)
        self._expire(slot)
        count = 1
        if self._buckets and self._buckets[-1][0] == slot:
            count += self._buckets.pop()[1]
        self._buckets.append((slot, count))
        self._total += 1

    def total(self, now: float) -> int:
        self._expire(int(now / self._width))
        return self._total

    def _expire(self, slot: int) -> None:
        while self._buckets and self._buckets[0][0] <= slot - self._length:
            self._total -= self._buckets.popleft()[1]
