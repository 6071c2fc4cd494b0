"""The ledger's file: entries are appended off the request path.

The hot path pays one bounded `deque.append`; one writer thread does the rest. A batch is written
as multi-row INSERT statements, not with `executemany`: that one gives up the interpreter lock for
every row and, beside a busy event loop, was measured at 8 ms a row against 0.03 ms.

Money is `Decimal` dollars in an `Entry` and whole pico-dollars (1e-12 USD) in the file: a request
of a small student costs some 12 nano-dollars, which nano-dollars would round by 3 %.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache, lru_cache
from itertools import chain
from operator import itemgetter
from pathlib import Path

import msgspec

from router.ledger.entry import Backlog, Entry
from router.ledger.rollup import fold
from router.ledger.schema import COLUMNS, identity, open_file, prepare

PICO = Decimal(10) ** 12
log = logging.getLogger(__name__)

BATCH = 2_000
"""Entries of one transaction."""
_ROWS = (256, 64, 16, 4, 1)
"""Rows of one statement. Every size is a program of its own that the connection keeps, up to half a
megabyte large: with any size allowed, memory grew for hours. They stay under SQLite's 32,766
parameters."""
_OWN = (
    "at", "request_id", "label", "confidence", "teacher_pusd", "input_tokens", "latency_ms",
    "text_sha256", "client", "student_label", "teacher_label",
)  # fmt: skip
"""What each row has of its own; the rest many rows have in common, and a statement binds it once:
to bind a value takes .1 µs, as long as to store it."""
_ENVIRONMENT = (sqlite3.OperationalError, MemoryError)
"""Faults of the machine (locked, full, gone), not of an entry: worth another try."""
_USD_AT = (COLUMNS.index("student_pusd"), COLUMNS.index("teacher_pusd"))
_ENUM_AT = (COLUMNS.index("route"), COLUMNS.index("reason"))
_COMMON = tuple(name for name in COLUMNS if name not in _OWN)
_own, _common = (itemgetter(*map(COLUMNS.index, names)) for names in (_OWN, _COMMON))
FOLD_EVERY_S = 600.0
"""How often it is looked whether rows became old; while there are some, a chunk follows a write."""


class SqliteLedger:
    """One SQLite file in WAL mode, written by one thread in batches.

    What was appended more than about `interval_s` ago survives `kill -9`. A locked file or a full
    disk never reaches a request: the batch waits in memory and is tried again, the buffer holds
    `capacity` entries, and what no longer fits is counted in `dropped`.

    With `keep_days`, rows of days that ended so long ago become sums of their day; where the file
    `ships` its rows to a database, not before they are there.

    Raises:
        BadLedger: the file cannot be opened, is no ledger, or was written by a newer version.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_days: int | None = None,
        ships: bool = False,
        capacity: int = 200_000,
        interval_s: float = 0.01,
        close_timeout_s: float = 10.0,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        self.path = path
        self.dropped = 0
        self.write_errors = 0
        self.last_error = ""
        self._keep_days = keep_days
        self._ships = ships
        self._fold_at = 0.0
        self._capacity = capacity
        self._interval_s = interval_s
        self._close_timeout_s = close_timeout_s
        self._connect = connect or open_file
        self._pending: deque[Entry] = deque()
        self._taken: list[Entry] = []
        self._stored = threading.Condition()
        self._wake = threading.Event()
        self._closing = False
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._give_up_at = float("inf")
        prepare(path, self._connect)
        self._writer = threading.Thread(target=self._write_on, name="ledger", daemon=True)
        self._writer.start()

    @property
    def pending(self) -> int:
        """Entries in memory that are not in the file yet."""
        return len(self._pending) + len(self._taken)

    @property
    def backlog(self) -> Backlog:
        """What waits, for how long, and how often storing failed."""
        try:
            first = self._taken[0] if self._taken else self._pending[0]
        except IndexError:  # nothing waits, or the writer took it just now
            return Backlog(errors=self.write_errors)
        return Backlog(self.pending, max(0.0, time.time() - first.at), self.write_errors)

    def append(self, entry: Entry) -> None:
        """Buffer the entry, or count it as dropped."""
        if len(self._pending) < self._capacity and not self._closing:
            self._pending.append(entry)
        else:
            self.dropped += 1

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until the buffer is in the file; False when it is not within `timeout_s`."""
        self._wake.set()
        with self._stored:
            return self._stored.wait_for(lambda: not self.pending, timeout_s)

    def close(self) -> None:
        """Store what is left, for at most `close_timeout_s`; count the rest as dropped."""
        if self._closing:
            return
        self._give_up_at = time.monotonic() + self._close_timeout_s
        self._closing = True
        self._wake.set()
        self._writer.join()
        if self.pending:
            self.dropped += self.pending
            log.error("%d ledger entries were lost: %s stayed unwritable", self.pending, self.path)

    def _write_on(self) -> None:
        """Write until there is nothing left; no fault, of whatever kind, ends the thread."""
        pause = self._interval_s
        while self._pending or self._taken or not self._closing:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                self._write()
                pause = 0.0 if self._closing else self._interval_s
            except Exception as error:
                self._failed(error)
                pause = min(1.0, 2 * max(pause, 0.01))
            with self._stored:
                self._stored.notify_all()
            if time.monotonic() > self._give_up_at:
                break
        _discard(self._connection)

    def _write(self) -> None:
        connection = self._open()
        while self._take():
            self._store(connection)
        self._fold(connection)

    def _open(self) -> sqlite3.Connection:
        """Return a connection to the file that is at the path now: one deleted takes no rows."""
        if self._connection is not None and self._file != identity(self.path):
            self.write_errors += 1
            self.last_error = "the file was deleted or replaced"
            log.error("ledger %s: %s; a new one is begun", self.path, self.last_error)
            _discard(self._connection)
            self._connection = None
            prepare(self.path, self._connect)
        if self._connection is None:
            self._connection = self._connect(self.path)
            self._file = identity(self.path)
        return self._connection

    def _failed(self, error: Exception) -> None:
        self.write_errors += 1
        self.last_error = str(error) or type(error).__name__
        if self.write_errors & (self.write_errors - 1) == 0:
            log.warning("ledger %s: %s; %d entries wait", self.path, self.last_error, self.pending)
        _discard(self._connection)
        self._connection = None

    def _fold(self, connection: sqlite3.Connection) -> None:
        """Fold a chunk of old rows when it is time to look for them."""
        now = time.monotonic()
        if self._keep_days is None or self._closing or now < self._fold_at:
            return
        self._fold_at = now + FOLD_EVERY_S
        if fold(connection, self._keep_days, ships=self._ships):
            self._fold_at = now

    def _take(self) -> bool:
        """Move up to a batch from the buffer to `_taken`, where it stays until it is stored."""
        taken = self._taken
        while len(taken) < BATCH and self._pending:
            taken.append(self._pending[0])  # first in the one, then out of the other: `pending`
            self._pending.popleft()  # may count an entry twice for a moment, never as gone
        return bool(taken)

    def _store(self, connection: sqlite3.Connection) -> None:
        try:
            _store_all(connection, self._taken)
        except _ENVIRONMENT:
            raise
        except Exception:
            while self._taken:
                entry = self._taken[0]
                try:
                    _store_all(connection, [entry])
                except _ENVIRONMENT:
                    raise
                except Exception as error:
                    self.dropped += 1
                    log.error("ledger entry %r cannot be stored: %s", entry.request_id, error)
                self._taken = self._taken[1:]
        self._taken = []


def _store_all(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    connection.execute("begin immediate")
    try:
        insert(connection, entries)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def insert(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Insert entries within the transaction that is open, like ones together."""
    groups: dict[tuple[object, ...], list[tuple[object, ...]]] = {}
    for row in map(_row, entries):
        groups.setdefault(_common(row), []).append(_own(row))
    for common, rows in groups.items():
        start = 0
        for size in _ROWS:
            while start + size <= len(rows):
                own = chain.from_iterable(rows[start : start + size])
                connection.execute(_into(size), [*common, *own])
                start += size


@cache
def _into(size: int) -> str:
    """Return the statement that inserts so many rows; the values in common are the first."""
    common = [f"?{i + 1}" for i in range(len(_COMMON))]
    row = f"({', '.join(common + ['?'] * len(_OWN))})"
    return f"insert into entries ({', '.join(_COMMON + _OWN)}) values {', '.join([row] * size)}"


def _row(entry: Entry) -> list[object]:
    row = list(msgspec.structs.astuple(entry))
    for i in _ENUM_AT:
        row[i] = row[i]._value_  # .value is a property that costs as much as five columns
    for i in _USD_AT:
        if row[i] is not None:
            row[i] = _pico(row[i])
    return row


@lru_cache(maxsize=1_024)
def _pico(usd: Decimal) -> int:
    return round(usd * PICO)


def _discard(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with suppress(sqlite3.Error):
            connection.close()
