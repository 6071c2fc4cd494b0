"""The UTC days of `decisions`: partitions that are made ahead, and dropped when sums suffice."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from router.database.connection import transaction
from router.database.locks import DatabaseLock

if TYPE_CHECKING:
    from psycopg import Connection

AHEAD = 3
"""Days after today that have a partition: so long nobody notices when none can be made."""
SECONDS = 10.0
RETIRE_S = 600.0
_BOOKS = ", ".join(f"coalesce(sum({n}), 0)" for n in ("student_pusd", "teacher_pusd", "attempts"))
_KEPT = "task, bundle, route, reason, client"
_ADDED = (
    "student_pusd", "teacher_pusd", "requests", "asked", "attempts", "input_tokens",
    "output_tokens", "cached_input_tokens", "measured_attempts", "degraded", "audited", "unpriced",
    "estimated",
)  # fmt: skip
log = logging.getLogger(__name__)


def today() -> date:
    """Return the UTC day."""
    return datetime.now(UTC).date()


def make_days(connection: Connection, days: Iterable[date]) -> None:
    """Make the partitions that are missing, without keeping the shippers of other hosts waiting.

    Raises:
        psycopg.Error: they cannot be made.
    """
    for day in sorted(days):
        with transaction(connection, SECONDS):
            connection.execute("select pg_advisory_xact_lock(%s)", (int(DatabaseLock.LEDGER_DAYS),))
            if _is_attached(connection, day):
                continue
            table = table_of(day)
            bounds = f"'{day} 00:00:00+00'", f"'{day + timedelta(days=1)} 00:00:00+00'"
            # Made alone and then attached: PARTITION OF would lock all of `decisions`. The check
            # spares the scan for rows of other days.
            connection.execute(
                f"create table if not exists {table} (like raisehand.decisions, "
                f"check (at >= {bounds[0]} and at < {bounds[1]}))"
            )
            connection.execute(
                f"alter table raisehand.decisions attach partition {table} "
                f"for values from ({bounds[0]}) to ({bounds[1]})"
            )
            connection.execute(
                "insert into raisehand.ledger_days (day) values (%s) on conflict do nothing", (day,)
            )


def days_ahead(connection: Connection) -> int:
    """Count the days after today, without a gap, that have a partition."""
    for ahead in range(1, AHEAD + 1):
        if not _is_attached(connection, today() + timedelta(days=ahead)):
            return ahead - 1
    return AHEAD


def old_days(connection: Connection, keep_days: int) -> list[date]:
    """Return the days that ended `keep_days` days ago or earlier and still have their rows."""
    rows = connection.execute(
        "select day from raisehand.ledger_days where retired_at is null and day < %s order by day",
        (today() - timedelta(days=keep_days),),
    )
    return [day for (day,) in rows]


def retire(connection: Connection, day: date) -> bool:
    """Drop the rows of a day whose sums are right, and its hosts from the sums, in one step.

    False, and nothing is dropped, where rows and sums differ: that has to be looked at.

    Raises:
        psycopg.Error: somebody reads the day, or the database is away; try again.
    """
    with transaction(connection, RETIRE_S):
        found = connection.execute(
            "select 1 from raisehand.ledger_days where day = %s and retired_at is null for update",
            (day,),
        ).fetchone()
        if found is None:  # another host was first
            return True
        rows, sums = books_of(connection, day)
        if rows != sums:
            log.error("ledger: the rows of %s add up to %s, its sums to %s", day, rows, sums)
            return False
        connection.execute(
            f"with moved as (delete from raisehand.ledger_sums where {_OF_DAY} returning *) "
            f"insert into raisehand.ledger_sums (hour, instance, {_KEPT}, first_at, last_at, "
            f"{', '.join(_ADDED)}) select hour, 0, {_KEPT}, min(first_at), max(last_at), "
            f"{', '.join(f'sum({name})' for name in _ADDED)} from moved group by hour, {_KEPT}",
            _bounds(day),
        )
        if _is_attached(connection, day):
            connection.execute(f"alter table raisehand.decisions detach partition {table_of(day)}")
        connection.execute(f"drop table if exists {table_of(day)}")
        connection.execute(  # of requests that have no row any more
            "delete from raisehand.feedback where at < extract(epoch from %s::timestamptz)",
            (_bounds(day)[1],),
        )
        connection.execute(
            "update raisehand.ledger_days set retired_at = now() where day = %s", (day,)
        )
    return True


def wrong_days(connection: Connection) -> list[date]:
    """Return the days whose rows and sums differ, while others go on shipping."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        kept = connection.execute(
            "select day from raisehand.ledger_days where retired_at is null order by day"
        ).fetchall()
        books = {day: books_of(connection, day) for (day,) in kept}
    return [day for day, (rows, sums) in books.items() if rows != sums]


def books_of(connection: Connection, day: date) -> tuple[object, object]:
    """Add up the rows of a day, and its sums: requests, dollars of both and attempts."""
    rows = connection.execute(
        f"select count(*), {_BOOKS} from raisehand.decisions where at >= %s and at < %s",
        _bounds(day),
    ).fetchone()
    sums = connection.execute(
        f"select coalesce(sum(requests), 0), {_BOOKS} from raisehand.ledger_sums where {_OF_DAY}",
        _bounds(day),
    ).fetchone()
    return rows, sums


def table_of(day: date) -> str:
    """Return what the partition of a day is called."""
    return f"raisehand.decisions_{day:%Y_%m_%d}"


_OF_DAY = "hour >= %s and hour < %s"


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def _is_attached(connection: Connection, day: date) -> bool:
    found = connection.execute(
        "select 1 from pg_inherits where inhparent = 'raisehand.decisions'::regclass "
        "and inhrelid = to_regclass(%s)",
        (table_of(day),),
    ).fetchone()
    return found is not None
