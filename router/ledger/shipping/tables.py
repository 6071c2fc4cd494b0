"""Sums of tables on their way to all hosts: each chunk's once, whatever dies in between."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router.database.connection import transaction
from router.ledger.rollup import SUMS
from router.ledger.schema import open_file
from router.ledger.shipping.cargo import CARGO_S
from router.ledger.shipping.postgres import day_of, instance_of
from router.ledger.shipping.spool import Spool

if TYPE_CHECKING:
    from psycopg import Connection

AT_ONCE = 1_000
_COUNTS = tuple(name for name in SUMS if not name.endswith(("_musd", "_rest")))
_NAMES = ("day", "task", "route", "reason", "student_pusd", "teacher_pusd", *_COUNTS)
_ADD = (
    f"insert into raisehand.table_sums as s ({', '.join(_NAMES)}) "
    f"values ({', '.join(['%s'] * len(_NAMES))}) on conflict (day, task, route, reason) do update "
    f"set {', '.join(f'{name} = s.{name} + excluded.{name}' for name in _NAMES[4:])}"
)


class TableSumsCargo:
    """The sums of tables in a ledger's file that the database has not got."""

    name = "sums of tables"

    def __init__(self, path: Path) -> None:
        self._path = path

    def waits(self) -> bool:
        """Tell whether there are any."""
        with closing(open_file(self._path)) as file:
            found = file.execute("select 1 from table_sums where shipped = 0 limit 1")
            return found.fetchone() is not None

    def ship(self, connection: Connection) -> bool:
        """Add the next of them, and write down how far that is, in one transaction."""
        with Spool(self._path) as spool:
            instance = instance_of(connection, spool)
        with closing(open_file(self._path)) as file:
            with transaction(connection, CARGO_S):
                found = connection.execute(
                    "select table_sums from raisehand.shipped where instance = %s for update",
                    (instance,),
                ).fetchone()
                after = int(found[0]) if found else 0
                rows = file.execute(
                    f"select id, day, task, route, reason, {', '.join(SUMS)} from table_sums "
                    f"where id > ? order by id limit {AT_ONCE}",
                    (after,),
                ).fetchall()
                last = rows[-1][0] if rows else after
                with connection.cursor() as cursor:
                    cursor.executemany(_ADD, [_terms(row[1:]) for row in rows])
                connection.execute(
                    "update raisehand.shipped set table_sums = %s where instance = %s",
                    (last, instance),
                )
            file.execute("update table_sums set shipped = 1 where id <= ?", (last,))
        return len(rows) == AT_ONCE


def _terms(row: tuple[Any, ...]) -> tuple[object, ...]:
    """Put a row of the file in the database's terms."""
    values = dict(zip(SUMS, row[4:], strict=True))
    pusd = (
        Decimal(values[f"{payer}_musd"]) * 1_000_000 + values[f"{payer}_rest"]
        for payer in ("student", "teacher")
    )
    return (day_of(row[0]), *row[1:4], *pusd, *(values[name] for name in _COUNTS))
