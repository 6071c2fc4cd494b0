"""Where ledgers of many hosts come together: a batch and how far it goes, in one transaction.

A batch that is sent again after any crash finds its rows there and adds nothing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from router.database.connection import instance_name, transaction
from router.errors import BadLedger
from router.ledger.shipping.days import make_days
from router.ledger.shipping.spool import COPIED, HOUR_S, KEY, SUMS, Batch, Spool

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from psycopg import Connection

BATCH_S = 30.0
"""A batch that takes the database longer is given up and tried again."""
_EPOCH = date(1970, 1, 1)
_NAMES = (
    *("hour", "instance", *KEY[1:], "student_pusd", "teacher_pusd"),
    *(name for name in SUMS if not name.endswith(("_musd", "_rest"))),
)
_ADD = ", ".join(
    f"{name} = {wider}(s.{name}, excluded.{name})"
    for name, wider in (("first_at", "least"), ("last_at", "greatest"))
) + "".join(
    f", {name} = s.{name} + excluded.{name}"
    for name in _NAMES[len(KEY) + 1 :]
    if name not in ("first_at", "last_at")
)
_ADD_SUMS = (
    f"insert into raisehand.ledger_sums as s ({', '.join(_NAMES)}) "
    f"values ({', '.join(['%s'] * len(_NAMES))}) "
    f"on conflict (hour, instance, {', '.join(KEY[1:])}) do update set {_ADD}"
)
_IN_THIS_BATCH = ", ".join(
    f"set_config('{name}', '{value}', true)"
    for name, value in (
        ("raisehand.sums", "rows"),  # the database adds up what it gets
        (
            "work_mem",
            "32MB",
        ),  # it keeps the batch for that, by default on disk: a tenth of its time
        ("timezone", "UTC"),  # no line needs to name it
    )
)
_COPY = "copy raisehand.decisions ({}) from stdin (format csv)".format(
    ", ".join(f'"{name}"' for name in COPIED)
)


def instance_of(connection: Connection, spool: Spool) -> int:
    """Return the number of a ledger's file; it gets one when it is seen for the first time."""
    with transaction(connection, BATCH_S):
        connection.execute(
            "insert into raisehand.shipped (spool, host) values (%s, %s) on conflict do nothing",
            (spool.id, instance_name()),
        )
        row = connection.execute(
            "select instance from raisehand.shipped where spool = %s", (spool.id,)
        ).fetchone()
    assert row is not None, "it was just made"
    return int(row[0])


def ship(connection: Connection, spool: Spool, instance: int) -> int:
    """Store the next batch; return how many rows that were, 0 when the database has them all.

    Raises:
        BadLedger: the file is not the one that was shipped before.
        psycopg.Error: the database is away, full, read-only, …; nothing was stored.
    """
    try:
        return _ship(connection, spool, instance)
    except _DaysMissing as missing:
        make_days(connection, missing.days)
        return _ship(connection, spool, instance)


class _DaysMissing(Exception):
    """Days that have no partition yet, and never had one."""

    def __init__(self, days: Collection[date]) -> None:
        super().__init__(f"no partition for {', '.join(map(str, days))}")
        self.days = days


def _ship(connection: Connection, spool: Spool, instance: int) -> int:
    with transaction(connection, BATCH_S):
        batch = _next(connection, spool, instance)
        if batch is None:
            return 0
        lines = spool.lines(batch, instance)
        retired = _retired(connection, lines.days)
        if retired:
            lines = spool.lines(batch, instance, without=retired)
        with connection.cursor() as cursor:
            if lines.rows:
                with cursor.copy(_COPY) as copy:
                    copy.write(lines.text)
                if cursor.rowcount != lines.rows:
                    raise BadLedger(f"{lines.rows} rows were sent and {cursor.rowcount} stored")
            if retired:  # of the others the database adds up what it gets
                late = spool.sums(batch, retired)
                cursor.executemany(_ADD_SUMS, [_sums(instance, row) for row in late])
            cursor.execute(
                'update raisehand.shipped set "row" = %s, request_id = %s, host = %s, at = now() '
                "where instance = %s",
                (batch.last, batch.request_id, instance_name(), instance),
            )
    spool.shipped(batch.last)
    return batch.last - batch.after


def _next(connection: Connection, spool: Spool, instance: int) -> Batch | None:
    """Return what comes after the last row that the database has; nobody else ships it meanwhile.

    Raises:
        BadLedger: that row is another one in this file.
    """
    row = connection.execute(
        f"""select "row", request_id, {_IN_THIS_BATCH} from raisehand.shipped """
        "where instance = %s for update",
        (instance,),
    ).fetchone()
    if row is None:
        raise BadLedger(f"the database has lost instance {instance}; start the router again")
    after, request_id = int(row[0]), str(row[1])
    if after and (spool.newest() < after or spool.request_at(after) not in (None, request_id)):
        raise BadLedger(
            f"the database has row {after} of this ledger as another request's: the file was copied"
            " or restored while its original went on; move it away, so that a new one is begun"
        )
    batch = spool.next(after)
    if batch is None:
        spool.shipped(after)
    return batch


def _retired(connection: Connection, numbers: Collection[int]) -> list[int]:
    """Return those of a batch's days of which only sums are kept; none is retired meanwhile.

    Raises:
        _DaysMissing: of some nobody has made the partition.
    """
    days = [day_of(number) for number in numbers]
    rows = connection.execute(
        "select day, retired_at is not null from raisehand.ledger_days where day = any(%s) "
        "order by day for share",
        (days,),
    ).fetchall()
    missing = set(days) - {day for day, _ in rows}
    if missing:
        raise _DaysMissing(missing)
    return [(day - _EPOCH).days for day, retired in rows if retired]


def day_of(number: int) -> date:
    """Return the UTC day so many days after 1 January 1970."""
    return _EPOCH + timedelta(days=number)


def _sums(instance: int, row: Sequence[object]) -> tuple[object, ...]:
    """Put a group of the file in the database's terms."""
    key, values = row[: len(KEY)], dict(zip(SUMS, row[len(KEY) :], strict=True))
    dollars = (
        Decimal(int(str(values.pop(f"{payer}_musd")))) * 1_000_000
        + int(str(values.pop(f"{payer}_rest")))
        for payer in ("student", "teacher")
    )
    pusd = tuple(dollars)
    for name in ("first_at", "last_at"):
        values[name] = datetime.fromtimestamp(float(str(values[name])), UTC)
    hour = datetime.fromtimestamp(int(str(key[0])) * HOUR_S, UTC)
    names = (str(name).split("\0", 1)[0] for name in key[1:])  # as the rows have them
    return (hour, instance, *names, *pusd, *values.values())
