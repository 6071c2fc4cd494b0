"""A worker's link to the store: what it saw goes there, what is ruled comes back.

One thread of each process does both, a few times a second and never on the request path. While the
store is away a bundle keeps the last ruling, audits wait in memory up to a limit, and what is lost
beyond it is counted; nothing but the store can take an alarm back. A bundle of which no ruling is
known, neither from the store nor from this host's memory, escalates everything.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from costmodel.units import DAY_S
from router.shared.memory import Memory
from router.shared.records import Audit, AuditVerdict, Event, Judge, Reopen, Ruling, StoreAway, Wish
from router.shared.store import Store, read_rulings
from router.shared.wishes import read_wishes

TICK_S = 0.2
"""Between two exchanges with the store."""
PAUSE_S = 2.0
"""At most so long between two tries while it is away."""
BATCH = 1_000
"""Audits of one transaction."""
FORGET_EVERY_S = 60.0
"""Between two looks for audits that are too old."""
CAPACITY = 50_000
"""Audits that wait in memory, some 20 MB."""
UNKNOWN = AuditVerdict(escalate_all=True, reason="ruling_unknown")
"""Nobody knows whether the promise is kept."""
EVENTS = 100
"""Events that wait while the store is away."""
log = logging.getLogger(__name__)


class Follower(Protocol):
    """Whoever goes by the rulings on one bundle."""

    task: str
    bundle: str
    ruling: Ruling

    @property
    def reopen(self) -> Reopen:
        """Who judges the bundle."""
        ...


class Keeper:
    """Keeps one worker and the store in step.

    Args:
        store: of all workers; the keeper closes it.
        index: which worker this is.
        memory: where rulings are kept for a start while the store is away; None: such a start is
            refused.
        keep_days: audits that are older are deleted, what they showed stays; None keeps all.
        capacity: audits that wait while the store is away.
    """

    def __init__(
        self,
        store: Store,
        index: int = 0,
        *,
        memory: Memory | None = None,
        keep_days: int | None = None,
        tick_s: float = TICK_S,
        capacity: int = CAPACITY,
    ) -> None:
        self.store = store
        self.instance = f"{socket.gethostname()}/{index}-{secrets.token_hex(4)}"
        """Another one with every start: its audits are numbered from 0."""
        self.lost = 0
        """Audits that fitted nowhere while the store was away."""
        self.away = False
        self.wishes: dict[tuple[str, str], Wish] | None = None
        """What operators want, by task and name, as last read; None: it never was."""
        self._memory = memory
        self._keep_days = keep_days
        self._forget_at = 0.0
        self._tick_s = tick_s
        self._capacity = capacity
        self._numbers = itertools.count()
        self._spool: deque[tuple[int, Audit]] = deque()
        self._events: deque[Event] = deque(maxlen=EVENTS)
        self._followers: dict[tuple[str, str], Follower] = {}
        self._exchanging = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Audits that are not in the store yet."""
        return len(self._spool)

    def follow(self, follower: Follower, change: Callable[[Judge], None] | None = None) -> None:
        """Go by the store's ruling from now on; blocks until the first one is there.

        Args:
            follower: who goes by it.
            change: what the evidence has to learn first.

        Raises:
            StoreAway: it cannot be had, so that an alarm may be forgotten: there is no memory, or
                something for the evidence to learn.
        """
        task, bundle = follower.task, follower.bundle
        try:
            follower.ruling = self.store.amend(self.instance, task, bundle, follower.reopen, change)
        except StoreAway as fault:
            if self._memory is None or change is not None:
                raise
            self._is_away(fault)
            last = self._memory.last(task, bundle)
            follower.ruling = last or Ruling(task, bundle, 0, UNKNOWN)
        else:
            self._keep(follower.ruling)
        self._followers[task, bundle] = follower

    def put(self, audit: Audit) -> None:
        """Buffer an audit of a bundle that is followed, or count it as lost."""
        if len(self._spool) < self._capacity:
            self._spool.append((next(self._numbers), audit))
        else:
            self.lost += 1

    def say(self, event: Event) -> None:
        """Have an event recorded with the next exchange; of very many the oldest are forgotten."""
        self._events.append(event)

    def start(self) -> None:
        """Begin to exchange."""
        self._thread = threading.Thread(target=self._run, name="shared", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Store what waits, if the store is there, and let go of it."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.exchange()
        if self._spool:
            self.lost += len(self._spool)
            log.error("%d audits were lost: the shared store stayed away", len(self._spool))
        self.store.close()

    def exchange(self) -> bool:
        """Tell the store what was seen and take its rulings; False when it is away."""
        try:
            with self._exchanging:
                while self._spool:
                    self._tell()
                while self._events:
                    self.store.record(self._events[0])
                    self._events.popleft()
                with self.store.transaction() as execute:  # one for both: it is begun all the time
                    found, wishes = read_rulings(execute), read_wishes(execute)
                rulings = {(ruling.task, ruling.bundle): ruling for ruling in found}
                for key in list(self._followers):
                    if key in rulings:
                        self._take(rulings[key])
                    else:
                        self._begin(key)
                self.wishes = wishes
                self._forget()
        except StoreAway as fault:
            self._is_away(fault)
            return False
        if self.away:
            log.warning("the shared store is there again")
        self.away = False
        return True

    def _run(self) -> None:
        pause = self._tick_s
        while not self._closing.is_set():
            try:
                there = self.exchange()
            except Exception:  # a fault of one exchange must not end them all
                log.exception("an exchange with the shared store failed")
                there = False
            pause = self._tick_s if there else min(PAUSE_S, 2 * pause)
            self._closing.wait(pause)

    def _forget(self) -> None:
        if self._keep_days is not None and time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + FORGET_EVERY_S
            self.store.forget(time.time() - self._keep_days * DAY_S)

    def _begin(self, key: tuple[str, str]) -> None:
        """Have the store rule on a bundle that was followed while it was away."""
        self._take(self.store.amend(self.instance, *key, self._followers[key].reopen))

    def _is_away(self, fault: StoreAway) -> None:
        if not self.away:
            log.warning("the last rulings stay in force, audits wait in memory: %s", fault)
        self.away = True

    def _keep(self, ruling: Ruling) -> None:
        if self._memory is not None:
            self._memory.keep(ruling)

    def _tell(self) -> None:
        """Store the audits of the bundle that waits longest, and take the ruling on it."""
        batch = [self._spool[i] for i in range(min(BATCH, len(self._spool)))]
        for key in dict.fromkeys((audit.task, audit.bundle) for _, audit in batch):
            of_it = [row for row in batch if (row[1].task, row[1].bundle) == key]
            reopen = self._followers[key].reopen
            self._take(self.store.fold(self.instance, *key, of_it, reopen))
        for _ in batch:
            self._spool.popleft()

    def _take(self, ruling: Ruling) -> None:
        follower = self._followers.get((ruling.task, ruling.bundle))
        if follower is None:
            return
        known = follower.ruling
        if ruling.version < known.version and not ruling.verdict.as_careful_as(known.verdict):
            return  # of a store that was put back or emptied: it may alarm, and clear nothing
        if ruling.verdict.orders != follower.ruling.verdict.orders:
            log.error(
                "bundle %s of task %s: %s %s",
                ruling.bundle,
                ruling.task,
                ruling.verdict.reason or "as certified again",
                dict(ruling.verdict.figures),
            )
        if ruling.version != follower.ruling.version:
            self._keep(ruling)
        follower.ruling = ruling
