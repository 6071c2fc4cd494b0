"""The store of one host: a SQLite file that every worker opens."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from router.shared.records import StoreAway
from router.shared.store import Execute, Rows, Store
from students.private_file import make_private

STORE_FILE = "shared.sqlite"
"""In the work_dir."""
VERSION = 3
BUSY_S = 5.0
"""How long another worker's transaction is waited for."""
_CREATE = """
create table if not exists audits (
    id integer primary key autoincrement,
    instance text not null,
    number integer not null,
    task text not null,
    bundle text not null,
    at real not null,
    request_id text not null,
    propensity real not null,
    escalated integer not null,
    student_label text,
    confidence real,
    teacher_label text,
    disagreed integer not null
);
create unique index if not exists audits_told on audits (instance, task, bundle, number);
create index if not exists audits_of on audits (task, bundle, id);
create table if not exists evidence (
    task text not null,
    bundle text not null,
    version integer not null,
    evidence text,
    verdict text not null,
    primary key (task, bundle)
);
create table if not exists budgets (
    name text primary key,
    handed_out integer not null,
    at real not null
);
create table if not exists leases (
    budget text not null,
    seat text not null,
    spend_to integer not null,
    live_until real not null,
    primary key (budget, seat)
);
create table if not exists events (
    id integer primary key autoincrement,
    at real not null,
    task text not null,
    bundle text not null,
    kind text not null,
    reason text not null,
    actor text not null,
    figures text not null
);
create table if not exists wishes (
    task text not null,
    name text not null,
    version integer not null,
    value text not null,
    bases text not null,
    at real not null,
    primary key (task, name)
);
create table if not exists deliveries (
    name text primary key,
    taken integer not null,
    holder text not null,
    until real not null
);
"""


class SqliteStore(Store):
    """A file in WAL mode; it is opened with the first use, and again after a fault."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._discard()

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Execute]:
        """Commit at the end, or leave nothing."""
        with self._lock:
            try:
                connection = self._open()
                connection.execute("begin immediate" if write else "begin")
                yield _executing(connection)
                connection.execute("commit")
            except (OSError, sqlite3.Error) as error:
                self._discard()
                raise StoreAway(f"{self.path} cannot be used: {error}") from error
            except BaseException:
                self._discard()
                raise

    def _open(self) -> sqlite3.Connection:
        """Return a connection to the file that is at the path now: one deleted takes no rows."""
        if self._connection is not None and self._file != _identity(self.path):
            self._discard()
        if self._connection is None:
            make_private(self.path)
            self._connection = _prepared(self.path)
            self._file = _identity(self.path)
        return self._connection

    def _discard(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


def _executing(connection: sqlite3.Connection) -> Execute:
    def execute(statement: str, values: object) -> Rows:
        written = statement.replace("%s", "?").replace("%%", "%")
        return connection.execute(written, values).fetchall()  # type: ignore[arg-type]

    return execute


def _prepared(path: Path) -> sqlite3.Connection:
    """Open the file with its tables; workers that start together wait for each other."""
    give_up_at = time.monotonic() + BUSY_S
    while True:
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            _create(connection)
            return connection
        except sqlite3.Error as error:
            connection.close()
            # SQLite's own time-out does not cover the switch to WAL.
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)


def _create(connection: sqlite3.Connection) -> None:
    [found] = connection.execute("pragma user_version").fetchone()
    if found > VERSION:
        raise sqlite3.DatabaseError(
            f"it has schema {found}, newer than {VERSION}; upgrade raisehand"
        )
    if found < VERSION:
        connection.executescript(
            f"begin immediate; {_CREATE} pragma user_version = {VERSION}; commit;"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
