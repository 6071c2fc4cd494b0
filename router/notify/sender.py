"""Takes events to a receiver in their order, each until it was taken: at least once.

All workers of a store run a sender for every receiver, and one of them has the lease: the others
stand by and take over when it is gone. Where the receiver stands in the stream of events is the
store's, so that a restart repeats nothing but an event whose receipt was lost.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

import aiohttp

from costmodel.units import DAY_S
from router.clock import Clock
from router.in_flight import on_a_thread
from router.notify.webhook import Webhook
from router.shared.records import Event, StoreAway
from router.shared.store import Store

TICK_S = 1.0
"""Between two looks for new events."""
LEASE_S = 30.0
"""A sender that is silent for so long is taken for dead; longer than a delivery takes."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
GIVE_UP_S = DAY_S
"""An event that nobody took for a day is left out, and counted: those behind it matter more."""
BATCH = 100
log = logging.getLogger(__name__)


class Sender:
    """Tells one receiver.

    Args:
        store: whose events.
        holder: who this is among all that may hold the lease.
        first_pause_s: after the first failure; twice as long after each further one.
    """

    def __init__(
        self,
        store: Store,
        webhook: Webhook,
        holder: str,
        *,
        tick_s: float = TICK_S,
        first_pause_s: float = FIRST_PAUSE_S,
        wall: Clock = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.webhook = webhook
        self.delivered = 0
        self.failures = 0
        """Attempts that were not taken."""
        self.given_up = 0
        """Events that nobody took for a day."""
        self._store = store
        self._holder = holder
        self._tick_s = tick_s
        self._first_pause_s = first_pause_s
        self._wall = wall
        self._rng = rng or random.Random()
        self._failed_in_a_row = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, and leave the lease to others."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await asyncio.to_thread(self._store.release, self.webhook.name, self._holder)
        except StoreAway:
            log.info("the lease of a webhook is left to run out: the store is away")

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                pause = self._tick_s
                try:
                    if not await self._tell(session):
                        pause = self._pause()
                except StoreAway as fault:
                    log.warning("webhooks wait for the shared store: %s", fault)
                except Exception:  # a fault of one event must not end them all
                    log.exception("a webhook to %s failed in a way nobody foresaw", self._host)
                    self._failed_in_a_row += 1
                    pause = self._pause()
                await self._wait(pause)

    async def _tell(self, session: aiohttp.ClientSession) -> bool:
        """Deliver what is due; False when the receiver did not take it."""
        while True:
            cursor = await self._hold()
            if cursor is None:
                return True
            events = await on_a_thread(self._store.events, cursor, BATCH)
            for event in events:
                if self.webhook.wants(event) and not await self._deliver(session, event):
                    return False
                await on_a_thread(self._store.advance, self.webhook.name, self._holder, event.id)
                if await self._hold() is None:
                    return True
            if len(events) < BATCH:
                return True

    async def _deliver(self, session: aiohttp.ClientSession, event: Event) -> bool:
        """Try once; True when it is done with, one way or the other."""
        fault = await self.webhook.deliver(session, event)
        if fault is None:
            if self._failed_in_a_row:
                log.warning("webhooks to %s are taken again", self._host)
            self.delivered += 1
            self._failed_in_a_row = 0
            return True
        self.failures += 1
        if self._wall() - event.at > GIVE_UP_S:
            self.given_up += 1
            log.error("event %d was not taken by %s for a day: %s", event.id, self._host, fault)
            return True
        if self._failed_in_a_row == 0:
            log.warning("a webhook to %s was not taken and is tried again: %s", self._host, fault)
        self._failed_in_a_row += 1
        return False

    async def _hold(self) -> int | None:
        """Take or keep the lease; return the last event that was taken, None: another has it."""
        return await on_a_thread(
            self._store.lease, self.webhook.name, self._holder, self._wall(), LEASE_S
        )

    async def _wait(self, seconds: float) -> None:
        """Wait, and keep the lease meanwhile: one that takes over would not wait."""
        while seconds > 0:
            part = min(seconds, LEASE_S / 3)
            await asyncio.sleep(part)
            seconds -= part
            if seconds > 0:
                try:
                    await self._hold()
                except StoreAway:
                    return

    def _pause(self) -> float:
        longest = self._first_pause_s * 2.0 ** min(self._failed_in_a_row - 1, 30)
        return min(LONGEST_PAUSE_S, longest) * self._rng.uniform(0.5, 1.0)

    @property
    def _host(self) -> str:
        return self.webhook.host
