"""Every decision, its usage and its price, appended off the request path.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Protocol

import msgspec

from router.errors import BadLedger
from router.policy import Reason, Route

PICO = Decimal(10) ** 12
SCHEMA_VERSION = 1
log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answered (or refused) request.

    `student_usd` and `teacher_usd` are 0 where nothing was asked and None where something was
    asked that has no known price: such a request is counted as unpriced, never summed as 0.
    `teacher_usd`, the tokens and `attempts` cover every attempt on the teacher: the failed, the
    retried and the cancelled ones too; `estimated` says that the usage of a lost one was estimated.
    """

    at: float
    """Unix time, seconds."""
    request_id: str
    task: str
    bundle: str
    surface: str
    route: Route
    reason: Reason
    label: str | None
    confidence: float | None
    student_usd: Decimal | None
    teacher_usd: Decimal | None
    input_tokens: int
    output_tokens: int
    attempts: int
    latency_ms: float
    degraded: bool
    audited: bool
    propensity: float
    """Probability with which this kept answer was drawn for an audit, in [0, 1]."""
    text_sha256: str
    client: str = ""
    """Name of the API key, never the key."""
    cached_input_tokens: int = 0
    estimated: bool = False


class Ledger(Protocol):
    """Where entries go. `append` never blocks and never raises."""

    @property
    def dropped(self) -> int:
        """Entries lost because the buffer was full or the file stayed unwritable at close."""
        ...

    def append(self, entry: Entry) -> None:
        """Take an entry; drop and count it when the buffer is full."""
        ...

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was appended so far is stored; False when that did not happen."""
        ...

    def close(self) -> None:
        """Store what is left and stop."""
        ...


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over entries. The dollars of an unpriced part are unknown: not in any sum, counted."""

    requests: int = 0
    student_usd: Decimal = Decimal(0)
    teacher_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 0
    degraded: int = 0
    audited: int = 0
    unpriced: int = 0
    estimated: int = 0

    @property
    def usd(self) -> Decimal:
        """All that was paid."""
        return self.student_usd + self.teacher_usd

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f) + getattr(other, f) for f in Sums.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Totals:
    """What the ledger adds up to."""

    by_route: Mapping[str, Sums]
    by_reason: Mapping[str, int]

    @property
    def all(self) -> Sums:
        """Over every route."""
        return sum(self.by_route.values(), Sums())


class MemoryLedger:
    """Keeps entries in a list: the shipped fake."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.dropped = 0

    def append(self, entry: Entry) -> None:
        """Keep the entry."""
        self.entries.append(entry)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """All is stored already."""
        return True

    def close(self) -> None:
        """Nothing is open."""

    def totals(self) -> Totals:
        """Add up the entries."""
        by_route: dict[str, Sums] = {}
        by_reason: dict[str, int] = {}
        for entry in self.entries:
            route, reason = entry.route.value, entry.reason.value
            by_route[route] = by_route.get(route, Sums()) + _sums(entry)
            by_reason[reason] = by_reason.get(reason, 0) + 1
        return Totals(by_route, by_reason)


class SqliteLedger:
    """One SQLite file in WAL mode, written by one thread in batches.

    What was appended more than about `interval_s` ago survives `kill -9`. A locked file or a full
    disk never reaches a request: the batch waits in memory and is tried again, the buffer holds
    `capacity` entries, and what no longer fits is counted in `dropped`.

    Raises:
        BadLedger: the file cannot be opened, is no ledger, or was written by a newer version.
    """

    def __init__(
        self,
        path: Path,
        *,
        capacity: int = 200_000,
        interval_s: float = 0.01,
        close_timeout_s: float = 10.0,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        self.path = path
        self.dropped = 0
        self.write_errors = 0
        self.last_error = ""
        self._capacity = capacity
        self._interval_s = interval_s
        self._close_timeout_s = close_timeout_s
        self._connect = connect or _connect
        self._pending: deque[Entry] = deque()
        self._taken: list[Entry] = []
        self._stored = threading.Condition()
        self._wake = threading.Event()
        self._closing = False
        self._give_up_at = float("inf")
        _prepare(path, self._connect)
        self._writer = threading.Thread(target=self._write_on, name="ledger", daemon=True)
        self._writer.start()

    @property
    def pending(self) -> int:
        """Entries in memory that are not in the file yet."""
        return len(self._pending) + len(self._taken)

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

    def totals(self, since: float = 0.0) -> Totals:
        """Add up what is in the file since a Unix time."""
        return read_totals(self.path, since)

    def _write_on(self) -> None:
        connection: sqlite3.Connection | None = None
        pause = self._interval_s
        while self._pending or self._taken or not self._closing:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                connection = connection or self._connect(self.path)
                while self._take():
                    self._store(connection)
                pause = 0.0 if self._closing else self._interval_s
            except sqlite3.Error as error:
                self.write_errors += 1
                self.last_error = str(error)
                if self.write_errors & (self.write_errors - 1) == 0:
                    log.warning("ledger %s: %s; %d entries wait", self.path, error, self.pending)
                _discard(connection)
                connection = None
                pause = min(1.0, 2 * max(pause, 0.01))
            with self._stored:
                self._stored.notify_all()
            if time.monotonic() > self._give_up_at:
                break
        _discard(connection)

    def _take(self) -> bool:
        """Move up to a batch from the buffer to `_taken`, where it stays until it is stored."""
        taken = self._taken
        while len(taken) < BATCH and self._pending:
            taken.append(self._pending[0])  # first in the one, then out of the other: `pending`
            self._pending.popleft()  # may count an entry twice for a moment, never as gone
        return bool(taken)

    def _store(self, connection: sqlite3.Connection) -> None:
        try:
            _insert(connection, self._taken)
        except _ENVIRONMENT:
            raise
        except Exception:
            while self._taken:
                entry = self._taken[0]
                try:
                    _insert(connection, [entry])
                except _ENVIRONMENT:
                    raise
                except Exception as error:
                    self.dropped += 1
                    log.error("ledger entry %r cannot be stored: %s", entry.request_id, error)
                self._taken = self._taken[1:]
        self._taken = []


def read_totals(path: Path, since: float = 0.0) -> Totals:
    """Add up a ledger file, also while a router writes to it.

    Raises:
        BadLedger: there is no such file, or it is not a ledger.
    """
    sums = (
        "count(*)",
        *(f"coalesce(sum({c} / 1000000), 0), coalesce(sum({c} % 1000000), 0)" for c in _MONEY),
        "sum(input_tokens), sum(output_tokens), sum(attempts), sum(degraded), sum(audited)",
        "sum(student_pusd is null or teacher_pusd is null), sum(estimated)",
    )
    with closing(_open_existing(path)) as connection:
        by_route = {
            route: Sums(n, _usd(s1, s0), _usd(t1, t0), *rest)
            for route, n, s1, s0, t1, t0, *rest in connection.execute(
                f"select route, {', '.join(sums)} from entries where at >= ? group by route",
                (since,),
            )
        }
        by_reason = dict(
            connection.execute(
                "select reason, count(*) from entries where at >= ? group by reason", (since,)
            ).fetchall()
        )
    return Totals(by_route, by_reason)


def read_spending(path: Path, since: float) -> dict[str, Decimal]:
    """Add up what each API key's answers cost since a Unix time, by its name.

    Raises:
        BadLedger: there is no such file, or it is not a ledger.
    """
    cost = "coalesce(student_pusd, 0) + coalesce(teacher_pusd, 0)"
    with closing(_open_existing(path)) as connection:
        rows = connection.execute(
            f"select client, sum(({cost}) / 1000000), sum(({cost}) % 1000000) from entries "
            "where at >= ? and client <> '' group by client",
            (since,),
        )
        return {client: _usd(whole, rest) for client, whole, rest in rows}


def read_entries(path: Path, since: float = 0.0) -> Iterator[Entry]:
    """Yield the entries of a ledger file in the order they were written.

    Raises:
        BadLedger: there is no such file, or it is not a ledger.
    """
    with closing(_open_existing(path)) as connection:
        rows = connection.execute(
            f"select {', '.join(_COLUMNS)} from entries where at >= ? order by id", (since,)
        )
        for row in rows:
            values = dict(zip(Entry.__struct_fields__, row, strict=True))
            for name in ("student_usd", "teacher_usd"):
                if values[name] is not None:
                    values[name] = values[name] / PICO
            yield msgspec.convert(values, Entry, strict=False)


PREPARE_S = 10.0
"""How long a ledger that another process is just making may stay locked."""
BATCH = 2_000
"""Entries of one transaction."""
_ROWS = (256, 64, 16, 4, 1)
"""Rows of one statement. Every size is a program of its own that the connection keeps, up to half a
megabyte large: with any size allowed, memory grew for hours. 22 columns each stay under SQLite's
32,766 parameters."""
_ENVIRONMENT = (sqlite3.OperationalError, MemoryError)
"""Faults of the machine (locked, full, gone), not of an entry: worth another try."""
_MONEY = ("student_pusd", "teacher_pusd")
_COLUMNS = tuple(name.replace("_usd", "_pusd") for name in Entry.__struct_fields__)
_USD_AT = (_COLUMNS.index("student_pusd"), _COLUMNS.index("teacher_pusd"))
_ENUM_AT = (_COLUMNS.index("route"), _COLUMNS.index("reason"))
_ROW = f"({', '.join('?' * len(_COLUMNS))})"
_INTO = {
    rows: f"insert into entries ({', '.join(_COLUMNS)}) values {', '.join([_ROW] * rows)}"
    for rows in _ROWS
}
_CREATE = """
create table if not exists entries (
    id integer primary key,
    at real not null,
    request_id text not null,
    task text not null,
    bundle text not null,
    surface text not null,
    route text not null,
    reason text not null,
    label text,
    confidence real,
    student_pusd integer,
    teacher_pusd integer,
    input_tokens integer not null,
    output_tokens integer not null,
    attempts integer not null,
    latency_ms real not null,
    degraded integer not null,
    audited integer not null,
    propensity real not null,
    text_sha256 text not null,
    client text not null,
    cached_input_tokens integer not null,
    estimated integer not null
);
create index if not exists entries_at on entries (at);
"""


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    return connection


def _prepare(path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
    """Make the file a ledger; workers that start together wait for each other.

    SQLite's own time-out does not cover the switch to WAL.
    """
    give_up_at = time.monotonic() + PREPARE_S
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(connect(path)) as connection:
                _check_version(path, connection)
                connection.executescript(_CREATE)
                connection.execute(f"pragma user_version = {SCHEMA_VERSION}")
            return
        except (OSError, sqlite3.Error) as error:
            if "locked" in str(error) and time.monotonic() < give_up_at:
                time.sleep(0.02)
                continue
            raise BadLedger(
                f"the ledger {path} cannot be opened ({error}); give a path on a writable local "
                "disk"
            ) from None


def _open_existing(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise BadLedger(f"there is no ledger at {path}; `raisehand serve` writes one")
    try:
        connection = sqlite3.connect(path, timeout=5.0)
        connection.execute("pragma query_only = on")
        if _check_version(path, connection) == 0:
            raise BadLedger(f"{path} is a SQLite file but no raisehand ledger")
    except sqlite3.Error as error:
        raise BadLedger(f"{path} is no raisehand ledger ({error})") from None
    return connection


def _check_version(path: Path, connection: sqlite3.Connection) -> int:
    version: int = connection.execute("pragma user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise BadLedger(
            f"the ledger {path} has schema {version}, newer than {SCHEMA_VERSION}; "
            "upgrade raisehand or name another file"
        )
    return version


def _insert(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    connection.execute("begin immediate")
    try:
        start = 0
        for rows in _ROWS:
            while start + rows <= len(entries):
                values = list(chain.from_iterable(map(_row, entries[start : start + rows])))
                connection.execute(_INTO[rows], values)
                start += rows
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _row(entry: Entry) -> list[object]:
    row = list(msgspec.structs.astuple(entry))
    for i in _ENUM_AT:
        row[i] = row[i].value
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


def _usd(whole_micro: int, rest_pico: int) -> Decimal:
    """Join the two halves of a sum that as one 64-bit sum of pico-dollars could overflow."""
    return Decimal(whole_micro * 1_000_000 + rest_pico).scaleb(-12)


def _sums(entry: Entry) -> Sums:
    return Sums(
        requests=1,
        student_usd=entry.student_usd or Decimal(0),
        teacher_usd=entry.teacher_usd or Decimal(0),
        input_tokens=entry.input_tokens,
        output_tokens=entry.output_tokens,
        attempts=entry.attempts,
        degraded=int(entry.degraded),
        audited=int(entry.audited),
        unpriced=int(entry.student_usd is None or entry.teacher_usd is None),
        estimated=int(entry.estimated),
    )
