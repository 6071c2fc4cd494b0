"""Carries what a ledger's file has to the database, a round at a time.

A database that is away costs a try now and then; the rows wait in the file.
"""

from __future__ import annotations

import logging
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

RETRY_S = 5.0
"""How long a database that did not take a batch is left alone."""
LOOK_AFTER_S = 60.0
"""How often partitions are made ahead and old days are retired."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shipping:
    """What is known of the shipping; all 0 where another worker ships."""

    up: bool = False
    unshipped: Unshipped = field(default_factory=Unshipped)
    rows: int = 0
    errors: int = 0
    days_ahead: int = 0
    unreconciled: int = 0
    """Old days whose rows and sums differ: they are kept."""


class Carrier:
    """Ships the ledger at a path to a database, and other cargo beside it; one thread at a time.

    Raises:
        BadDatabase: the address is wrong; a database that is away is none.
    """

    def __init__(
        self, path: Path, url: str, *, keep_days: int | None = None, cargo: Sequence[Cargo] = ()
    ) -> None:
        check_url(url)
        self.path = path
        self.state = Shipping()
        self.fault = ""
        """Why the database did not take what it was last given; empty: it did."""
        self._url, self._keep_days = url, keep_days
        self._cargo = tuple(cargo)
        self._cargo_faults: dict[str, tuple[str, float]] = {}
        self._connection: Connection | None = None
        self._instances: dict[str, int] = {}
        self._try_at = self._look_after_at = 0.0

    def round(self, *, last: bool = False) -> bool:
        """Ship all there is; True when nothing is left. Whatever fails is told by the state.

        Args:
            last: the router stops: days are not looked after, a database that failed is tried.
        """
        try:
            with Spool(self.path) as spool:
                self.state.unshipped = spool.unshipped()
                waiting = [one for one in self._cargo if self._waits(one)]
                if self._is_time(bool(self.state.unshipped.rows or waiting), last):
                    self._ship(spool, waiting, last)
                    self.state.unshipped = spool.unshipped()
                return not (self.state.unshipped.rows or any(map(self._waits, self._cargo)))
        except Exception as error:  # whatever it was: the rows are in the file
            self._failed(error)
            return False

    def nothing_left(self) -> bool:
        """Whether the database has all, as far as the files know; for who does not ship."""
        try:
            with Spool(self.path) as spool:
                return not (spool.unshipped().rows or any(map(self._waits, self._cargo)))
        except Exception as error:
            self._failed(error)
            return False

    def disconnect(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None

    def _waits(self, cargo: Cargo) -> bool:
        """Whether there is something to carry that was not refused just now."""
        _, until = self._cargo_faults.get(cargo.name, ("", 0.0))
        return time.monotonic() >= until and cargo.waits()

    def _is_time(self, wanted: bool, last: bool) -> bool:
        """Whether to ask the database: not for nothing, or its hanging would hide what comes."""
        now = time.monotonic()
        if last:
            return wanted
        return (wanted or bool(self.fault) or now >= self._look_after_at) and now >= self._try_at

    def _ship(self, spool: Spool, waiting: Sequence[Cargo], last: bool) -> None:
        connection = self._connected()
        if time.monotonic() >= self._look_after_at and not last:
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
        if self.fault:
            log.warning("ledger: the database %s takes rows again", shown(self._url))
            self.fault = ""

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
        self.disconnect()
        if _words(error) != self.fault:  # once for each kind of fault, not every few seconds
            self.fault = _words(error)
            log.error(
                "ledger: %s does not take rows (%s); they wait in %s",
                shown(self._url),
                self.fault,
                self.path,
            )


def _days_from(first: date) -> Sequence[date]:
    return [first + timedelta(days=ahead) for ahead in range(AHEAD + 1)]


def _words(error: Exception) -> str:
    """Return the first line of an error: psycopg's may go on with what was sent."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
