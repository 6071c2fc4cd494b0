"""What the ledgers of all hosts add up to, from the database's sums: its rows stay unread."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.inputs.ledger.database import is_database
from router.database.connection import reading
from router.errors import BadLedger
from router.ledger.entry import Sums, Totals
from router.ledger.read import read_totals

if TYPE_CHECKING:
    from psycopg import Connection

HOUR = timedelta(hours=1)
_COUNTS = ("input_tokens", "output_tokens", "attempts", "degraded", "audited")
_OF_SUMS = ", ".join(
    f"sum({name})"
    for name in ("requests", "student_pusd", "teacher_pusd", *_COUNTS, "unpriced", "estimated")
)
_OF_ROWS = ", ".join(
    (
        "count(*)",
        *(f"coalesce(sum({name}), 0)" for name in ("student_pusd", "teacher_pusd")),
        *(f"sum({name}::int)" for name in _COUNTS),
        "sum((student_pusd is null or teacher_pusd is null)::int)",
        "sum(estimated::int)",
    )
)


def totals_of(source: str, since: float = 0.0) -> Totals:
    """Add up a ledger's file or, by its address, the database that has those of all hosts.

    Raises:
        BadLedger: it is none, or `since` lies within a time of which only the sum is kept.
        BadDatabase: the database cannot be used.
    """
    return _merged(source, since) if is_database(source) else read_totals(Path(source), since)


def _merged(url: str, since: float) -> Totals:
    start = datetime.fromtimestamp(since, UTC)
    hour = start.replace(minute=0, second=0, microsecond=0)
    whole = hour if hour == start else hour + HOUR
    by_route: dict[str, Sums] = {}
    by_reason: dict[str, int] = {}
    with reading(url, "ledger") as connection, connection.transaction():
        # one view of rows and sums: a batch brings both
        connection.execute("set transaction isolation level repeatable read, read only")
        found = connection.execute(
            f"select route, reason, {_OF_SUMS} from raisehand.ledger_sums where hour >= %s "
            "group by route, reason",
            (whole,),
        ).fetchall()
        found += connection.execute(
            f"select route, reason, {_OF_SUMS} from raisehand.table_sums where day >= %s "
            "group by route, reason",
            (_whole_day(connection, start),),
        ).fetchall()
        if whole > start:
            _check_kept(connection, start)
            found += connection.execute(
                f"select route, reason, {_OF_ROWS} from raisehand.decisions "
                "where at >= %s and at < %s group by route, reason",
                (start, whole),
            ).fetchall()
    for route, reason, n, student, teacher, *rest in found:
        part = Sums(int(n), _usd(student), _usd(teacher), *map(int, rest))
        by_route[route] = by_route.get(route, Sums()) + part
        by_reason[reason] = by_reason.get(reason, 0) + int(n)
    return Totals(by_route, by_reason)


def _whole_day(connection: Connection, start: datetime) -> date:
    """Return the first day whose sums of tables lie wholly after a moment."""
    day = start.date()
    if start == datetime(day.year, day.month, day.day, tzinfo=UTC):
        return day
    if connection.execute(
        "select 1 from raisehand.table_sums where day = %s limit 1", (day,)
    ).fetchone():
        raise BadLedger(
            f"of the tables of {day} only the sum of the whole day is kept; give the midnight "
            "(UTC) before or after that moment"
        )
    return day + timedelta(days=1)


def _check_kept(connection: Connection, start: datetime) -> None:
    retired = connection.execute(
        "select 1 from raisehand.ledger_days where day = %s and retired_at is not null",
        (start.date(),),
    ).fetchone()
    if retired:
        raise BadLedger(
            f"of {start.date()} only the sums of its hours are kept; give a full hour (UTC)"
        )


def _usd(pico: Decimal) -> Decimal:
    return Decimal(int(pico)).scaleb(-12)
