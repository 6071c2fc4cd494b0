"""Keeps the leases of one process: renews them beside the requests, and gives back what is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from router.clock import Clock
from router.shared.leases import SharedBudget
from router.shared.purse import Purse
from router.shared.records import StoreAway
from router.shared.seat import FOLDER, Seat, free_seats, spent_on_host, take_seat
from router.shared.store import Store

TICK_S = 0.2
"""Between two looks for leases that should be renewed."""
PAUSE_S = 1.0
"""Between two tries while the store is away."""
log = logging.getLogger(__name__)


class Purser:
    """Every purse of a process, and the thread that fills them.

    Args:
        store: of all workers and hosts; closed by whoever opened it.
        folder: of the ledger: seats are beside it.
        clock: seconds.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, store: Store, folder: Path, *, clock: Clock = time.monotonic) -> None:
        self.away = False
        self._store = store
        self._folder = folder / FOLDER
        self._clock = clock
        self._seat = take_seat(self._folder)
        self._purses: dict[str, Purse] = {}
        self._renewing = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._try_at = 0.0
        self._thread: threading.Thread | None = None

    def open(self, budget: SharedBudget) -> Purse:
        """Return the purse of a budget, from now on of the size that is given."""
        purse = self._purses.get(budget.name)
        if purse is None:
            purse = Purse(budget, self._seat, self._wake.set, self._clock)
            self._purses = {**self._purses, budget.name: purse}
            self._wake.set()
        purse.change(budget)
        return purse

    def close_purse(self, name: str) -> None:
        """Forget the purse of a budget that is over."""
        self._purses = {key: purse for key, purse in self._purses.items() if key != name}

    def spent_on_host(self) -> Callable[[str], int]:
        """Read what this host's processes have spent: of a budget, in pico-dollars."""
        return spent_on_host(self._folder)

    def start(self) -> None:
        """Take the first leases, then go on; what seats without a process held is given back."""
        self.renew()
        for seat in free_seats(self._folder):
            self._end(seat)
        self._thread = threading.Thread(target=self._run, name="purser", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give back what is left."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with self._renewing:
            self._end(self._seat)

    def renew(self) -> bool:
        """Renew the leases that are due; False when the store is away: they stay as they are."""
        with self._renewing:
            due = [purse for purse in self._purses.values() if purse.is_due()]
            claims = [purse.claim() for purse in due]
            if not due:
                return True
            try:
                leases = self._store.lease_budgets(self._seat.name, claims)
            except StoreAway as fault:
                if not self.away:
                    log.warning("no leases on budgets until the store is there again: %s", fault)
                self.away = True
                return False
            for purse, claim in zip(due, claims, strict=True):
                purse.take(leases[purse.budget.name], claim)
        if self.away:
            log.warning("leases on budgets are renewed again")
        self.away = False
        return True

    def _run(self) -> None:
        while not self._closing:
            try:
                pause = TICK_S if self.renew() else PAUSE_S
            except Exception:  # a fault of one renewal must not end them all
                log.exception("leases could not be renewed")
                pause = PAUSE_S
            if pause == PAUSE_S:
                time.sleep(pause)
            self._wake.wait(pause)
            self._wake.clear()

    def _end(self, seat: Seat) -> None:
        try:
            self._store.give_back(seat.name, seat.known)
            seat.remove()
        except StoreAway:
            seat.close()  # whoever takes it next goes on from its counts
