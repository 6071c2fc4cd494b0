"""Carries a ledger's rows to the database, beside the requests and never in their way.

Each worker of a host has a shipper; one of them at a time, the holder of a lock on a file, ships
the ledger they share.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path

from costmodel.companion import Companion, CompanionEnded
from router.ledger.shipping.carrier import RETRY_S, Carrier, Shipping

EVERY_S = 1.0
CLOSE_S = 5.0
"""How long a router that stops goes on shipping."""
log = logging.getLogger(__name__)


class Shipper:
    """Has a carrier make its rounds until it is closed.

    Args:
        carrier: used in this process at the end, and all the time without a companion.
        companion: has a carrier of the same kind that makes a round when it is asked, and tells
            what is known then: a thread here takes time from the requests.
    """

    def __init__(
        self, carrier: Carrier, companion: Companion[None, Shipping] | None = None
    ) -> None:
        self._carrier, self._companion = carrier, companion
        self._state = Shipping()
        self._leads = False
        self._lock = _FileLock(carrier.path.with_name(f"{carrier.path.name}-shipper"))
        self._done = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._thread.start()

    @property
    def leads(self) -> bool:
        """Whether of several workers this one ships."""
        return self._leads

    @property
    def state(self) -> Shipping:
        """What is known now."""
        return self._state

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Ship what is left, if the database takes it in that time, and stop; True: all is there.

        Of several workers the one that does not ship waits for the one that does.
        """
        self._stop.set()
        self._thread.join(timeout_s)
        if self._companion is not None:
            self._companion.close()
        self._lock.release()
        return self._done

    def _run(self) -> None:
        """Ship until it is closed; no fault, of whatever kind, ends the thread."""
        while not self._stop.wait(EVERY_S):
            if self._takes_lead():
                self._state = self._round()
        if self._companion is not None:
            self._companion.close()  # no request is in the way any more
        give_up_at = time.monotonic() + CLOSE_S
        # The worker that ships may have looked for the last time before this one stored its rows.
        while not (done := self._last_round()) and time.monotonic() < give_up_at:
            if self._carrier.fault:
                break
            time.sleep(0.05)
        self._done = done
        self._carrier.disconnect()

    def _takes_lead(self) -> bool:
        try:
            self._leads = self._lock.acquire()
        except OSError as error:  # the folder is gone, or no more files may be opened
            log.error("ledger: %s: nothing is shipped", error)
            self._leads = False
        return self._leads

    def _round(self) -> Shipping:
        if self._companion is None:
            self._carrier.round()
            return self._carrier.state
        try:
            return self._companion.ask(None)
        except CompanionEnded as error:
            if self._stop.is_set():
                return self._state
            log.error("ledger: %s; another is started", error)
            self._stop.wait(RETRY_S)
            return Shipping(errors=self._state.errors + 1)

    def _last_round(self) -> bool:
        if not self._takes_lead():
            return self._carrier.nothing_left()
        done = self._carrier.round(last=True)
        self._state = self._carrier.state
        return done


class _FileLock:
    """Held by one process at a time and freed by the kernel when that one is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take it if nobody else has it."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let another have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
