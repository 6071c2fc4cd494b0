"""Brings this worker to what operators want, wherever they said it.

What is wanted is a row of the shared store for each task, one for the API keys, and one for the
drain of this router alone. The worker that an operator reaches makes the change first: what it
refuses is written nowhere. Then it writes the row, and every other worker of every host, those that
start later included, goes there by itself.

A router that is started with another bundle (or other keys) than those who followed a row were is
a new deployment: it goes its own way until the next change.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from router.errors import Conflict, RouterError, Unavailable
from router.in_flight import InFlight
from router.keys.ring import KeyFile
from router.process.candidate import Candidacy
from router.process.following.serving import Serving
from router.service.served import Served
from router.service.service import Service
from router.shared.keeper import Keeper
from router.shared.records import Event, StoreAway, Wish
from router.shared.wishes import join, want
from router.student.loaded import Model
from router.telemetry.metrics import Reading
from students.errors import BadBundle
from students.task import Task

FOLLOW_S = 0.1
"""Between two looks at what the keeper has read."""
RETRY_S = 5.0
"""Before a row that could not be followed is tried again."""
SERVING, KEYS, DRAIN = "serving", "keys", "drain"
Key = tuple[str, str]
"""Task and name of a row."""
Load = Callable[[Task, str], Model]
"""Reads, verifies and warms a bundle of a task; blocking, run in a thread."""
log = logging.getLogger(__name__)


class Steward:
    """Follows the rows, and writes them for an operator.

    Args:
        service: what is brought there.
        load: reads a bundle.
    """

    def __init__(self, service: Service, load: Load) -> None:
        self._service = service
        self._load = load
        self._homes = service.keepers
        self._home = next(iter(service.keepers.values()), None)
        self._drain: Key = (f"@{self._router()}", DRAIN)
        self._followed: dict[Key, int] = {}
        self._faults: dict[Key, str] = {}
        self._tried: dict[Key, float] = {}
        self._begun: set[Keeper] = set()
        self.candidacies = {
            name: Candidacy(service, served, self.change) for name, served in service.tasks.items()
        }
        self._changing = asyncio.Lock()
        self._following = InFlight()
        service.metrics.watch(
            [
                Reading(
                    "raisehand_desired_skew",
                    "Changes of operators that this worker has not followed.",
                    lambda: len(self._behind()),
                )
            ]
        )

    async def start(self) -> None:
        """Go where the others are, before the first request, and follow from then on."""
        for keeper in set(self._homes.values()):
            await asyncio.to_thread(keeper.exchange)
        await self.follow()
        self._following.start(self._follow_on())

    async def close(self) -> None:
        """Follow no more."""
        await self._following.close(0.0)

    def version(self, task: str | None = None) -> int:
        """Return the version of a task's row that is in force here, of the drain's without one."""
        return self._followed.get(self._drain if task is None else (task, SERVING), 0)

    def fault(self, task: str) -> str | None:
        """Say why this worker could not follow a task's row; None where it did."""
        return self._faults.get((task, SERVING))

    async def follow(self) -> None:
        """Go where the rows say that were read last."""
        await self._tell_keys()
        for wish in self._behind():
            async with self._changing:
                await self._go((wish.task, wish.name))

    async def change(self, task: Served, act: Callable[[], Awaitable[Model | None]]) -> None:
        """Do what an operator says with a task here, and have all others follow.

        Args:
            task: whose.
            act: makes the change; returns a model to retire.

        Raises:
            Conflict: another change is being made, or was made meanwhile.
            Unavailable: the store is away; nothing has changed.
            RouterError, BadBundle: it cannot be done here; nothing has changed.
        """
        name, slot, pipeline = task.task.name, task.pipeline.slot, task.pipeline
        async with self._alone(name):
            places = slot.current, slot.previous, slot.canary, slot.canary_share, slot.shadow
            before, threshold = Serving.of(task), pipeline.threshold
            left = await act()
            wanted = Serving.of(task)
            try:
                if wanted != before:
                    await self._write((name, SERVING), wanted.text)
            except (Conflict, Unavailable):
                pipeline.threshold = threshold
                for model in slot.settle(*places):
                    await model.retire()
                raise
            await self._fit(name, before)
            if left is not None and left not in slot.models:
                await left.retire()

    async def drain(self, draining: bool) -> None:
        """Make this router, with all its workers, unready or ready again.

        Raises:
            Conflict, Unavailable: as `change`.
        """
        async with self._alone(""):
            if self._service.draining != draining:
                await self._write(self._drain, str(draining).lower())
                self._service.draining = draining

    async def _tell_keys(self) -> None:
        """Have all others take the keys that were read again here."""
        specs = self._service.take_reloaded_keys()
        if specs is None or self._home is None:
            return
        text = KeyFile(keys=tuple(specs)).model_dump_json()
        event = Event(
            at=time.time(), task="", bundle="", kind="operator", reason=KEYS,
            actor=self._home.instance, figures={"keys": len(specs)},
        )  # fmt: skip
        try:
            await self._write(("", KEYS), text, event)
        except Unavailable as away:
            log.error("the API keys were read again by this worker alone: %s", away)

    async def _write(self, key: Key, value: str, event: Event | None = None) -> None:
        keeper = self._keeper(key)
        if keeper is None:
            return
        wish = Wish(*key, 0, value, ())
        after = None if key[1] == KEYS else self._followed.get(key, 0)
        base = self._base(key)
        try:
            written = await asyncio.to_thread(
                want, keeper.store, wish, base=base, after=after, event=event
            )
        except StoreAway as away:
            raise Unavailable(f"Nothing is changed: {away}.") from None
        if written is None:
            raise Conflict("Another change was made meanwhile; look and try again.")
        self._followed[key] = written.version
        self._faults.pop(key, None)
        await asyncio.to_thread(keeper.exchange)  # what was read before would lead back

    async def _follow_on(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self.follow()
            except Exception:  # a fault of one look must not end them all
                log.exception("what operators want could not be followed")

    def _behind(self) -> list[Wish]:
        """Return the rows of this worker that are not in force here.

        A lower version counts, too: the store was emptied or put back.
        """
        found = []
        for keeper in set(self._homes.values()):
            if keeper.wishes is None:
                continue
            mine = [w for key, w in keeper.wishes.items() if self._keeper(key) is keeper]
            if keeper not in self._begun:
                self._begun.add(keeper)
                for wish in mine:
                    self._begin(wish)
            found += [w for w in mine if w.version != self._followed.get((w.task, w.name), 0)]
        return found

    def _begin(self, wish: Wish) -> None:
        """Leave a row alone that is of another deployment."""
        base = self._base((wish.task, wish.name))
        if base not in wish.bases:
            self._followed[wish.task, wish.name] = wish.version
            log.warning(
                "%s %s: this router was started with %s, and those who follow the operators with "
                "%s: it goes its own way until the next change",
                wish.task or "all tasks", wish.name, base, ", ".join(wish.bases),
            )  # fmt: skip

    async def _go(self, key: Key) -> None:
        keeper = self._keeper(key)
        wish = keeper and keeper.wishes and keeper.wishes.get(key)  # as it is by now
        if not wish or wish.version == self._followed.get(key, 0):
            return
        if key in self._faults and time.monotonic() < self._tried[key] + RETRY_S:
            return
        try:
            if wish.name == SERVING:
                await self._settle(self._service.tasks[wish.task], Serving.parse(wish.value))
            elif wish.name == KEYS:
                self._service.use_keys(KeyFile.model_validate_json(wish.value).keys)
            else:
                self._service.draining = wish.value == "true"
        except (RouterError, BadBundle) as fault:
            if key not in self._faults:
                log.error("this worker is not where the others are: %s", fault)
            self._faults[key], self._tried[key] = str(fault), time.monotonic()
            return
        self._followed[key] = wish.version
        self._faults.pop(key, None)
        if self._base(key) not in wish.bases:
            await self._join(key, self._base(key))

    async def _join(self, key: Key, base: str) -> None:
        keeper = self._keeper(key)
        assert keeper is not None, "there is a row"
        with suppress(StoreAway):  # whoever starts with this base again goes its own way then
            await asyncio.to_thread(join, keeper.store, key, base)

    async def _settle(self, served: Served, wanted: Serving) -> None:
        models: dict[str, Model] = {}
        for bundle in (wanted.bundle, wanted.canary, wanted.shadow):
            if bundle is not None and bundle not in models:
                models[bundle] = await self.loaded(served, bundle)
        if wanted.previous is not None and wanted.previous not in models:
            try:
                models[wanted.previous] = await self.loaded(served, wanted.previous)
            except (RouterError, BadBundle) as fault:
                log.warning("the way back to bundle %s is lost: %s", wanted.previous, fault)
        pipeline, before = served.pipeline, Serving.of(served)
        previous, canary, shadow = (
            models.get(bundle or "") for bundle in (wanted.previous, wanted.canary, wanted.shadow)
        )
        left = pipeline.slot.settle(
            models[wanted.bundle], previous, canary, wanted.canary_share, shadow
        )
        pipeline.threshold = wanted.threshold
        await self._fit(served.task.name, before)
        for model in left:
            await model.retire()

    async def _fit(self, name: str, before: Serving) -> None:
        """Compare the shadow that there is now, and name a candidate that came through."""
        candidacy = self.candidacies[name]
        await candidacy.fit()
        if before.shadow is not None and await asyncio.to_thread(candidacy.name, before.shadow):
            await self._join((name, SERVING), before.shadow)

    async def loaded(self, served: Served, bundle: str) -> Model:
        """Return the model of a bundle: the one that is loaded, else a new one.

        Raises:
            RouterError, BadBundle: it cannot serve the task.
        """
        known = served.pipeline.slot.loaded(bundle)
        if known is not None:
            return known
        return await asyncio.to_thread(self._load, served.task, bundle)

    @asynccontextmanager
    async def _alone(self, task: str) -> AsyncIterator[None]:
        """Make one change at a time, from where the others are."""
        if self._changing.locked():
            raise Conflict("Another change is being made; wait until it is there.")
        keeper = self._homes.get(task, self._home)
        if keeper is not None:
            await asyncio.to_thread(keeper.exchange)
            await self.follow()
            for key in self._followed:
                if self._keeper(key) is keeper and key not in (keeper.wishes or {}):
                    self._followed[key] = 0  # the store was emptied
        async with self._changing:
            yield

    def _keeper(self, key: Key) -> Keeper | None:
        """Return whose store has a row; None where it is no row of this router."""
        task, name = key
        if name == SERVING:
            return self._homes.get(task)
        if key == self._drain or (key == ("", KEYS) and self._service.keys is not None):
            return self._home
        return None

    def _base(self, key: Key) -> str:
        """Return what this router was started with, as far as a row is about it."""
        if key[1] == SERVING:
            return self._service.bases.get(key[0], "")
        if key[1] == DRAIN:
            return ""
        text = KeyFile(keys=tuple(self._service.specs)).model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _router(self) -> str:
        share = self._service.share
        if share is not None:
            return share.folder.name
        return "" if self._home is None else self._home.instance
