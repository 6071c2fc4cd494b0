"""What changes slowly: money, bundles, events. Kept for a while, sums grow in a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from router.errors import BadDatabase, BadLedger
from router.process.board.cards import BundleCard, cards_of
from router.process.board.saving import SavedSoFar, SavingReader
from router.process.board.spending import PaidReader, SpentSoFar, open_spending
from router.process.board.suspects import SuspectAnswer, SuspectList
from router.shared.records import Audit, Event, StoreAway
from router.shared.store import Store
from students.task import Task

KEPT_S = 5.0
"""How old what is shown may be."""
EVENTS = 50
CHUNKS = 4
"""Of a ledger, between two figures that are shown."""
log = logging.getLogger(__name__)


class SlowBooks(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells of its files."""

    spent: SpentSoFar | None
    """None: there is no ledger, or it cannot be read now."""
    saved: dict[str, SavedSoFar]
    """By task; empty until the ledger was read."""
    bundles: dict[str, list[BundleCard]]
    """By task."""
    events: list[Event]
    """The newest first."""
    suspects: dict[str, list[SuspectAnswer]] = {}
    """By task."""


class BookKeeper:
    """Keeps the books of one process; nothing is read while nobody looks.

    Args:
        tasks: whose bundles are shown.
        ledger: its file, or the address of the database that has all hosts'; None: there is none.
        stores: what workers share, by task.
    """

    def __init__(
        self, tasks: Sequence[Task], ledger: str | Path | None, stores: Mapping[str, Store]
    ) -> None:
        self._tasks = tuple(tasks)
        self._money = None if ledger is None else (open_spending(ledger), SavingReader(ledger))
        self._saved: dict[str, SavedSoFar] = {}
        self._stores = tuple(dict.fromkeys(stores.values()))
        self._suspects = {
            name: SuspectList(name, partial(_audits_after, store)) for name, store in stores.items()
        }
        self._events: deque[Event] = deque(maxlen=EVENTS)
        self._last_events = [0] * len(self._stores)
        self._spent: SpentSoFar | None = None
        self._adding: threading.Thread | None = None
        self._told: SlowBooks | None = None
        self._told_at = 0.0

    def read(self) -> SlowBooks:
        """Return what is known, at most `KEPT_S` old; sums grow in the background."""
        if self._money is not None and (self._adding is None or not self._adding.is_alive()):
            self._adding = threading.Thread(target=self._add_up, args=self._money, daemon=True)
            self._adding.start()
        if self._told is None or time.monotonic() - self._told_at > KEPT_S:
            self._told = self._read()
            self._told_at = time.monotonic()
        return msgspec.structs.replace(self._told, spent=self._spent, saved=self._saved)

    def _add_up(self, sums: PaidReader, savings: SavingReader) -> None:
        try:
            self._spent = sums.advance(chunks=CHUNKS)
            while self._spent.read < 1.0:
                self._spent = sums.advance(chunks=CHUNKS)
            self._saved = savings.read(self._tasks)
        except (BadLedger, BadDatabase) as fault:
            self._spent = None
            log.warning("the page shows no money: %s", fault)

    def _read(self) -> SlowBooks:
        for index, store in enumerate(self._stores):
            try:
                while new := store.events(self._last_events[index]):
                    self._events.extend(new)
                    self._last_events[index] = new[-1].id
            except StoreAway as away:
                log.warning("the page shows no new events: %s", away)
        suspects: dict[str, list[SuspectAnswer]] = {}
        for task, listed in self._suspects.items():
            with suppress(StoreAway):
                suspects[task] = listed.read()
        return SlowBooks(
            suspects=suspects,
            spent=None,
            saved={},
            bundles={task.name: cards_of(task) for task in self._tasks},
            events=sorted(self._events, key=lambda event: event.at, reverse=True),
        )


def _audits_after(store: Store, task: str, after: int, limit: int) -> list[tuple[int, Audit]]:
    return store.audits(task, after=after, limit=limit)
