"""Rows of long ago become sums of their day: the file stops growing and no dollar is forgotten."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from costmodel.units import DAY_S

CHUNK = 2_000
"""Rows folded in one transaction: others wait for it some 10 ms."""

_KEY = ("day", "task", "route", "reason", "client")
_ROW_SUMS = {
    "requests": "count(*)",
    "student_musd": "coalesce(sum(student_pusd / 1000000), 0)",
    "student_rest": "coalesce(sum(student_pusd % 1000000), 0)",
    "teacher_musd": "coalesce(sum(teacher_pusd / 1000000), 0)",
    "teacher_rest": "coalesce(sum(teacher_pusd % 1000000), 0)",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "attempts": "sum(attempts)",
    "degraded": "sum(degraded)",
    "audited": "sum(audited)",
    "unpriced": "sum(student_pusd is null or teacher_pusd is null)",
    "estimated": "sum(estimated)",
}
"""What is kept of rows, and how SQLite adds it up. Dollars are whole micro-dollars and the rest in
pico-dollars: a sum of pico-dollars alone could overflow 64 bits."""
SUMS = tuple(_ROW_SUMS)
SUMS_OF_ROWS = ", ".join(_ROW_SUMS.values())
SUMS_OF_DAYS = ", ".join(f"sum({name})" for name in _ROW_SUMS)

CREATE_DAYS = f"""
create table if not exists days (
    day integer not null,
    task text not null,
    route text not null,
    reason text not null,
    client text not null,
    {", ".join(f"{name} integer not null" for name in _ROW_SUMS)},
    primary key ({", ".join(_KEY)})
) without rowid;
create table if not exists table_sums (
    id integer primary key autoincrement,
    day integer not null,
    task text not null,
    route text not null,
    reason text not null,
    {", ".join(f"{name} integer not null" for name in _ROW_SUMS)},
    shipped integer not null default 0
);
"""
"""`days`: of rows that are no more. `table_sums`: of a table's rows that never had an entry."""
_ADD = "on conflict do update set " + ", ".join(
    f"{name} = {name} + excluded.{name}" for name in _ROW_SUMS
)
_INTO_TABLE_SUMS = (
    f"insert into table_sums (day, task, route, reason, {', '.join(_ROW_SUMS)}) "
    f"values ({', '.join('?' * (4 + len(_ROW_SUMS)))})"
)
_FOLD = f"""
insert into days ({", ".join((*_KEY, *_ROW_SUMS))})
select cast(at / {DAY_S} as integer), task, route, reason, client, {SUMS_OF_ROWS}
from entries where at <= ? and id <= ? group by 1, 2, 3, 4, 5
{_ADD}
"""


def fold(connection: sqlite3.Connection, keep_days: int, *, ships: bool = False) -> bool:
    """Make the oldest rows sums of their day; True when there may be more of them.

    A row is old when its UTC day ended `keep_days` days ago or earlier. Several processes may fold
    one file: rows and sums change in one transaction.

    Args:
        connection: to the file.
        keep_days: how many whole days are kept.
        ships: rows go to a database, which tells them by their numbers: those it has not got stay,
            and so does the newest, whose number SQLite would give again.
    """
    before = (int(time.time()) // DAY_S - keep_days) * DAY_S
    last_row = _last_foldable(connection, ships)
    oldest = "select at from entries where at < ? and id <= ? order by at"
    if connection.execute(f"{oldest} limit 1", (before, last_row)).fetchone() is None:
        return False
    connection.execute("begin immediate")
    try:
        last = connection.execute(
            f"{oldest} limit 1 offset ?", (before, last_row, CHUNK - 1)
        ).fetchone()
        (until,) = (
            last
            or connection.execute(
                "select max(at) from entries where at < ? and id <= ?", (before, last_row)
            ).fetchone()
        )
        connection.execute(_FOLD, (until, last_row))
        connection.execute("delete from entries where at <= ? and id <= ?", (until, last_row))
        if last is None:  # of requests that have no row any more
            arrived = "and shipped" if ships else ""
            connection.execute(f"delete from feedback where at <= ? {arrived}", (until,))
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    return last is not None


def _last_foldable(connection: sqlite3.Connection, ships: bool) -> int:
    (newest,) = connection.execute("select coalesce(max(id), 0) from entries").fetchone()
    if not ships:
        return int(newest)
    (shipped,) = connection.execute("select shipped from spool").fetchone()
    return int(min(newest - 1, shipped))


def add_table_sums(
    connection: sqlite3.Connection, key: tuple[int, str, str, str], sums: Sequence[int]
) -> None:
    """Book rows of a table by their sums: the day, task, route and reason, and `SUMS` in order."""
    connection.execute(_INTO_TABLE_SUMS, (*key, *sums))


def days_of(connection: sqlite3.Connection) -> str | None:
    """Return where a file has sums by day: what FROM names; None in a file of an older version."""
    names = {
        name
        for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
    }
    columns = f"day, task, route, reason, {', '.join(_ROW_SUMS)}"
    found = [f"select {columns} from {name}" for name in ("days", "table_sums") if name in names]
    return f"({' union all '.join(found)})" if found else None


def folded_until(connection: sqlite3.Connection) -> float:
    """Return the Unix time before which rows may be gone, 0.0 where none was folded."""
    if not connection.execute("select 1 from sqlite_master where name = 'days'").fetchone():
        return 0.0
    (last,) = connection.execute("select max(day) from days").fetchone()
    return 0.0 if last is None else float((last + 1) * DAY_S)
