"""What was paid, by UTC day and payer: sums that are brought up to date, never made anew.

A ledger of ten million rows takes seconds to add up. So its rows are read once, a chunk at a time,
by their number; days of which the ledger itself keeps only the sum are read there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from costmodel.inputs.ledger.database import is_database
from costmodel.units import DAY_S
from router.clock import Clock
from router.database.connection import reading
from router.errors import BadLedger
from router.ledger.rollup import days_of
from router.ledger.schema import open_ledger

CHUNK = 50_000
"""Rows added up at once: some 50 ms."""
REST = 3.0
"""Times as long as a chunk took nothing is read: at most a quarter of a core, and of the disk."""
_SUMS = (
    "coalesce(sum(student_pusd / 1000000), 0), coalesce(sum(student_pusd % 1000000), 0), "
    "coalesce(sum(teacher_pusd / 1000000), 0), coalesce(sum(teacher_pusd % 1000000), 0), "
    "sum(student_pusd is null or teacher_pusd is null)"
)
_DAYS = "sum(student_musd), sum(student_rest), sum(teacher_musd), sum(teacher_rest), sum(unpriced)"
_HOURS = """
select day - date '1970-01-01', task, sum(requests), sum(student_pusd), sum(teacher_pusd),
       sum(unpriced)
from (
    select (hour at time zone 'UTC')::date as day, task, requests, student_pusd, teacher_pusd,
           unpriced from raisehand.ledger_sums where hour >= to_timestamp(%(since)s)
    union all
    select day, task, requests, student_pusd, teacher_pusd, unpriced from raisehand.table_sums
    where day >= (to_timestamp(%(since)s) at time zone 'UTC')::date
) as sums group by 1, 2
"""


@dataclass(frozen=True, slots=True)
class PaidSums:
    """Requests and dollars of one stretch of time of one task."""

    requests: int = 0
    student_usd: Decimal = Decimal(0)
    teacher_usd: Decimal = Decimal(0)
    unpriced: int = 0

    def __add__(self, other: PaidSums) -> PaidSums:
        return PaidSums(
            self.requests + other.requests,
            self.student_usd + other.student_usd,
            self.teacher_usd + other.teacher_usd,
            self.unpriced + other.unpriced,
        )


@dataclass(frozen=True, slots=True)
class SpentSoFar:
    """Today and this month, by task; `read` below 1: the ledger is still being added up."""

    today: dict[str, PaidSums]
    month: dict[str, PaidSums]
    read: float
    """Share of the month's rows that are in the sums."""


class PaidReader(Protocol):
    """Tells what was spent so far."""

    def advance(self, *, chunks: int | None = None) -> SpentSoFar:
        """Read what is new, all of it or so many chunks, and say what was spent; blocking.

        Raises:
            BadLedger, BadDatabase: the ledger cannot be read now.
        """
        ...


def open_spending(source: str | Path) -> PaidReader:
    """Return who adds up a ledger: a file, or the database that has those of all hosts."""
    return FleetSpending(str(source)) if is_database(source) else SpendingSums(Path(source))


class FleetSpending:
    """Sums of all hosts' ledgers, which the database keeps by the hour.

    Args:
        url: of the database.
        wall: the time, in Unix seconds.
    """

    def __init__(self, url: str, wall: Clock = time.time) -> None:
        self._url = url
        self._wall = wall

    def advance(self, *, chunks: int | None = None) -> SpentSoFar:
        """Say what was spent; blocking.

        Raises:
            BadDatabase: the database cannot be used.
        """
        del chunks  # its sums are read at once
        today = int(self._wall()) // DAY_S
        since = _first_of_month(self._wall()) * DAY_S
        spent: tuple[dict[str, PaidSums], dict[str, PaidSums]] = ({}, {})
        with reading(self._url, "page") as connection:
            rows = connection.execute(_HOURS, {"since": since}).fetchall()
        for day, task, requests, student, teacher, unpriced in rows:
            paid = PaidSums(int(requests), _usd(student), _usd(teacher), int(unpriced))
            for sums in spent if day == today else spent[1:]:
                sums[task] = sums.get(task, PaidSums()) + paid
        return SpentSoFar(today=spent[0], month=spent[1], read=1.0)


class SpendingSums:
    """Sums of one ledger file, for one process that shows them.

    Args:
        path: of the ledger.
        wall: the time, in Unix seconds.
        rest: waits between two chunks.
    """

    def __init__(
        self, path: Path, wall: Clock = time.time, rest: Callable[[float], None] = time.sleep
    ) -> None:
        self._path = path
        self._wall = wall
        self._rest = rest
        self._month = 0
        """First day of the month that is added up, as days since 1970."""
        self._last_id = 0
        self._first_id = 0
        self._days: dict[tuple[int, str], PaidSums] = {}

    def advance(self, *, chunks: int | None = None) -> SpentSoFar:
        """Read what is new, all of it or so many chunks, and say what was spent; blocking.

        Raises:
            BadLedger: the file is none, or cannot be read now.
        """
        try:
            with closing(open_ledger(self._path)) as connection:
                return self._advance(connection, chunks)
        except sqlite3.Error as error:
            raise BadLedger(f"the ledger {self._path} cannot be read now ({error})") from None

    def _advance(self, connection: sqlite3.Connection, chunks: int | None) -> SpentSoFar:
        month = _first_of_month(self._wall())
        (newest,) = connection.execute("select coalesce(max(id), 0) from entries").fetchone()
        if month != self._month or newest < self._last_id:  # another month, or another file
            self._begin(connection, month)
        while self._last_id < newest and (chunks is None or chunks > 0):
            started = time.monotonic()
            self._read(connection, min(self._last_id + CHUNK, newest))
            chunks = None if chunks is None else chunks - 1
            if self._last_id < newest:
                self._rest(REST * (time.monotonic() - started))
        return self._told(connection, newest)

    def _begin(self, connection: sqlite3.Connection, month: int) -> None:
        (first,) = connection.execute(
            "select min(id) from (select id from entries where at >= ? order by at limit 1000)",
            (month * DAY_S,),
        ).fetchone()
        self._month, self._days = month, {}
        # Rows are stored nearly in the order of their time: a day's margin would not hurt either.
        self._first_id = self._last_id = (first or 1) - 1

    def _read(self, connection: sqlite3.Connection, until: int) -> None:
        rows = connection.execute(
            f"select cast(at / {DAY_S} as integer), task, count(*), {_SUMS} from entries "
            "where id > ? and id <= ? and at >= ? group by 1, 2",
            (self._last_id, until, self._month * DAY_S),
        )
        for day, task, *sums in rows:
            known = self._days.get((day, task), PaidSums())
            self._days[day, task] = known + _paid(*sums)
        self._last_id = until

    def _told(self, connection: sqlite3.Connection, newest: int) -> SpentSoFar:
        today = int(self._wall()) // DAY_S
        days = {**self._days, **self._folded(connection)}
        whole: dict[str, PaidSums] = {}
        for (_, task), paid in days.items():
            whole[task] = whole.get(task, PaidSums()) + paid
        rows = newest - self._first_id
        return SpentSoFar(
            today={task: paid for (day, task), paid in days.items() if day == today},
            month=whole,
            read=1.0 if not rows else (self._last_id - self._first_id) / rows,
        )

    def _folded(self, connection: sqlite3.Connection) -> dict[tuple[int, str], PaidSums]:
        """Days of which only the sums are kept, as a whole: rows move there bit by bit."""
        days = days_of(connection)
        if days is None:
            return {}
        connection.execute("begin")  # one view of both tables
        found: dict[tuple[int, str], PaidSums] = {}
        rows = connection.execute(
            f"select day, task, sum(requests), {_DAYS} from {days} where day >= ? "
            "group by day, task",
            (self._month,),
        ).fetchall()
        for day, task, *sums in rows:
            found[day, task] = _paid(*sums)
        for day in {day for day, _ in found}:
            rest = connection.execute(
                f"select task, count(*), {_SUMS} from entries where at >= ? and at < ? group by 1",
                (day * DAY_S, (day + 1) * DAY_S),
            ).fetchall()
            for task, *sums in rest:
                found[day, task] = found.get((day, task), PaidSums()) + _paid(*sums)
        connection.execute("commit")
        return found


def _first_of_month(now: float) -> int:
    """Return the first day (UTC) of a moment's month, as days since 1970."""
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0)
    return int(first.timestamp()) // DAY_S


def _usd(pico: Decimal) -> Decimal:
    return Decimal(int(pico)).scaleb(-12)


def _paid(requests: int, s1: int, s0: int, t1: int, t0: int, unpriced: int) -> PaidSums:
    """Join the halves of sums that as one 64-bit sum of pico-dollars could overflow."""
    return PaidSums(
        requests,
        _usd(Decimal(s1) * 1_000_000 + s0),
        _usd(Decimal(t1) * 1_000_000 + t0),
        unpriced,
    )
