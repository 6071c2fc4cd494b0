"""The ledger's file and its tables: made, brought up to this version, opened for reading."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from router.errors import BadLedger
from router.ledger.entry import Entry
from router.ledger.rollup import CREATE_DAYS
from students.private_file import make_private

LEDGER_FILE = "ledger.sqlite"
"""In the work_dir of the first task, unless a command names another."""
SCHEMA_VERSION = 3
PREPARE_S = 10.0
"""How long a ledger that another process is just making may stay locked."""
COLUMNS = tuple(name.replace("_usd", "_pusd") for name in Entry.__struct_fields__)
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
    estimated integer not null,
    model text not null default '',
    student_label text,
    teacher_label text
);
create index if not exists entries_at on entries (at);
create table if not exists feedback (
    request_id text not null,
    task text not null,
    source text not null,
    client text not null,
    reviewer integer not null,
    at real not null,
    gold text,
    correct integer,
    shipped integer not null default 0,
    primary key (request_id, task, source, client)
) without rowid;
create table if not exists spool (id text not null, shipped integer not null);
insert into spool select lower(hex(randomblob(16))), 0 where not exists (select 1 from spool);
"""
_NEWER = {
    "entries": {
        "model": "text not null default ''",
        "student_label": "text",
        "teacher_label": "text",
    },
    "feedback": {"shipped": "integer not null default 0"},
}
"""Columns that files of earlier versions lack."""
UNKNOWN = {"model": "''", "student_label": "null", "teacher_label": "null"}
"""What rows of such a file say instead, while nobody has opened it for writing."""


def identity(path: Path) -> tuple[int, int] | None:
    """Return which file is at a path, whatever its name; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def open_file(path: Path) -> sqlite3.Connection:
    """Open a ledger for writing."""
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    return connection


def prepare(path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
    """Make the file a ledger; workers that start together wait for each other.

    SQLite's own time-out does not cover the switch to WAL.
    """
    give_up_at = time.monotonic() + PREPARE_S
    while True:
        try:
            make_private(path)
            with closing(connect(path)) as connection:
                _check_version(path, connection)
                connection.executescript(_CREATE + CREATE_DAYS)
                _add_what_is_new(connection)
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


def _add_what_is_new(connection: sqlite3.Connection) -> None:
    """Bring the rows of an older version up to this one."""
    for table, columns in _NEWER.items():
        known = columns_of(connection, table)
        for name, kind in columns.items():
            if name not in known:
                connection.execute(f"alter table {table} add column {name} {kind}")
    connection.execute(
        "create index if not exists feedback_waits on feedback (at) where shipped = 0"
    )


def columns_of(connection: sqlite3.Connection, table: str = "entries") -> set[str]:
    """Return the columns of a table in a file: an older version knew fewer."""
    return {row[1] for row in connection.execute(f"pragma table_info({table})")}


def open_ledger(path: Path) -> sqlite3.Connection:
    """Open a ledger for reading only.

    Raises:
        BadLedger: there is no such file, it is no ledger, or a newer version wrote it.
    """
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
