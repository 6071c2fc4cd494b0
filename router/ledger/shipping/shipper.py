"""Carries a ledger's rows to the database, beside the requests and never in their way.

Each worker of a host has a shipper; one of them at a time, the holder of a lock on a file, ships
the ledger they share. A database that is away costs a try now and then; the rows wait in the file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from router.database.connection import connect, cut_after
from router.database.migrate import is_behind, version_of
from router.database.url import check_url, shown
from router.errors import BadDatabase
from router.ledger.shipping.cargo import Cargo
from router.ledger.shipping.days import (
    AHEAD,
    SECONDS,
    days_ahead,
    make_days,
    old_days,
    retire,
    today,
)
from router.ledger.shipping.postgres import instance_of, ship
from router.ledger.shipping.spool import BATCH_ROWS, Spool, Unshipped

if TYPE_CHECKING:
    from psycopg import Connection

EVERY_S = 1.0
RETRY_S = 5.0
"""How long a database that did not take a batch is left alone."""
LOOK_AFTER_S = 60.0
"""How often partitions are made ahead and old days are retired."""
CLOSE_S = 5.0
"""How long a router that stops goes on shipping."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shipping:
    """What is known of the shipping by this process; all 0 where another worker ships."""

    leads: bool = False
    up: bool = False
    unshipped: Unshipped = field(default_factory=Unshipped)
    rows: int = 0
    errors: int = 0
    days_ahead: int = 0
    unreconciled: int = 0
    """Old days whose rows and sums differ: they are kept."""


class Shipper:
    """Ships the ledger at a path to a database until it is closed, and other cargo beside it.

    Raises:
        BadDatabase: the address is wrong; a database that is away is none.
    """

    def __init__(
        self, path: Path, url: str, *, keep_days: int | None = None, cargo: Sequence[Cargo] = ()
    ) -> None:
        check_url(url)
        self.state = Shipping()
        self._path, self._url, self._keep_days = path, url, keep_days
        self._cargo = tuple(cargo)
        self._cargo_faults: dict[str, tuple[str, float]] = {}
        self._lock = _FileLock(path.with_name(f"{path.name}-shipper"))
        self._connection: Connection | None = None
        self._instances: dict[str, int] = {}
        self._try_at = self._look_after_at = 0.0
        self._fault = ""
        self._done = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Ship what is left, if the database takes it in that time, and stop; True: all is there.

        Of several workers the one that does not ship waits for the one that does.
        """
        self._stop.set()
        self._thread.join(timeout_s)
        self._lock.release()
        return self._done

    def _run(self) -> None:
        """Ship until it is closed; no fault, of whatever kind, ends the thread."""
        while not self._stop.wait(EVERY_S):
            self._round()
        give_up_at = time.monotonic() + CLOSE_S
        self._try_at = 0.0
        # The worker that ships may have looked for the last time before this one stored its rows.
        while not (done := self._round()) and time.monotonic() < give_up_at and not self._fault:
            time.sleep(0.05)
        self._done = done
        self._disconnect()

    def _round(self) -> bool:
        """Ship all there is, where that is this process's turn; True when nothing is left."""
        try:
            self.state.leads = self._lock.acquire()
            with Spool(self._path) as spool:
                unshipped = spool.unshipped()
                self.state.unshipped = unshipped if self.state.leads else Unshipped()
                waiting = [one for one in self._cargo if self._waits(one)]
                wanted = bool(unshipped.rows or waiting)
                if self.state.leads and self._is_time(wanted):
                    self._ship(spool, waiting)
                    self.state.unshipped = unshipped = spool.unshipped()
                    wanted = bool(unshipped.rows or any(map(self._waits, self._cargo)))
            return not wanted
        except Exception as error:  # whatever it was: the rows are in the file
            self._failed(error)
            return False

    def _waits(self, cargo: Cargo) -> bool:
        """Whether there is something to carry that was not refused just now."""
        _, until = self._cargo_faults.get(cargo.name, ("", 0.0))
        return time.monotonic() >= until and cargo.waits()

    def _is_time(self, wanted: bool) -> bool:
        """Whether to ask the database: not for nothing, or its hanging would hide what comes."""
        now = time.monotonic()
        return (wanted or bool(self._fault) or now >= self._look_after_at) and now >= self._try_at

    def _ship(self, spool: Spool, waiting: Sequence[Cargo]) -> None:
        connection = self._connected()
        if time.monotonic() >= self._look_after_at and not self._stop.is_set():
            self._look_after(connection)
        instance = self._instances.get(spool.id)
        if instance is None:
            instance = self._instances[spool.id] = instance_of(connection, spool)
        rows = BATCH_ROWS
        while rows >= BATCH_ROWS:  # fewer: there are no more, and to ask costs half as much again
            rows = ship(connection, spool, instance)
            self.state.rows += rows
        for cargo in waiting:
            self._carry(connection, cargo)
        self.state.up = True
        if self._fault:
            log.warning("ledger: the database %s takes rows again", shown(self._url))
            self._fault = ""

    def _carry(self, connection: Connection, cargo: Cargo) -> None:
        """Ship one kind of cargo; a fault of its own keeps nothing else from its way."""
        try:
            while cargo.ship(connection):
                pass
            self._cargo_faults.pop(cargo.name, None)
        except Exception as error:
            if connection.closed:
                raise
            self.state.errors += 1
            fault = _words(error)
            if fault != self._cargo_faults.get(cargo.name, ("", 0.0))[0]:
                log.error("%s is not shipped to %s: %s", cargo.name, shown(self._url), fault)
            self._cargo_faults[cargo.name] = (fault, time.monotonic() + RETRY_S)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, "shipper")
            with cut_after(self._connection, SECONDS):
                version = version_of(self._connection)
            if is_behind(version):
                raise BadDatabase(
                    f"its tables are {version or 'missing'}; run `raisehand database migrate`"
                )
        return self._connection

    def _look_after(self, connection: Connection) -> None:
        """Make partitions ahead and retire old days; a fault here keeps no row from its way."""
        self._look_after_at = time.monotonic() + LOOK_AFTER_S
        try:
            make_days(connection, _days_from(today()))
            if self._keep_days is not None:
                with cut_after(connection, SECONDS):
                    old = old_days(connection, self._keep_days)
                self.state.unreconciled = sum(not retire(connection, day) for day in old)
        except Exception as error:
            if connection.closed:
                raise
            self.state.errors += 1
            log.error("ledger: days of %s: %s", shown(self._url), _words(error))
        with cut_after(connection, SECONDS):
            self.state.days_ahead = days_ahead(connection)

    def _failed(self, error: Exception) -> None:
        self.state.errors += 1
        self.state.up = False
        self._try_at = time.monotonic() + RETRY_S
        self._disconnect()
        if _words(error) != self._fault:  # once for each kind of fault, not every few seconds
            self._fault = _words(error)
            log.error(
                "ledger: %s does not take rows (%s); they wait in %s",
                shown(self._url),
                self._fault,
                self._path,
            )

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None


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


def _days_from(first: date) -> Sequence[date]:
    return [first + timedelta(days=ahead) for ahead in range(AHEAD + 1)]


def _words(error: Exception) -> str:
    """Return the first line of an error: psycopg's may go on with what was sent."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
