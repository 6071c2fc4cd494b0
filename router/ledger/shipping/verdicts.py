"""Feedback on its way to the other hosts: the one that takes it need not have answered."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from router.database.connection import transaction
from router.ledger.schema import open_file
from router.ledger.shipping.cargo import CARGO_S

if TYPE_CHECKING:
    from psycopg import Connection

AT_ONCE = 1_000
_FIELDS = ("request_id", "task", "source", "client", "reviewer", "at", "gold", "correct")
_WAITS = "from feedback where shipped = 0"
_PUT = (
    f"insert into raisehand.feedback as f ({', '.join(_FIELDS)}) "
    f"values ({', '.join(['%s'] * len(_FIELDS))}) "
    "on conflict (task, request_id, source, client) do update set "
    + ", ".join(f"{name} = excluded.{name}" for name in _FIELDS[4:])
    + " where f.at <= excluded.at"  # said on two hosts: the last word counts
)
_SHIPPED = (
    "update feedback set shipped = 1 "
    "where request_id = ? and task = ? and source = ? and client = ? and at = ?"
)


class VerdictCargo:
    """The feedback in a ledger's file that the database has not got."""

    name = "feedback"

    def __init__(self, path: Path) -> None:
        self._path = path

    def waits(self) -> bool:
        """Tell whether there is any."""
        with closing(open_file(self._path)) as file:
            return file.execute(f"select 1 {_WAITS} limit 1").fetchone() is not None

    def ship(self, connection: Connection) -> bool:
        """Store the next of it; what is said anew meanwhile goes once more."""
        with closing(open_file(self._path)) as file:
            rows = file.execute(
                f"select {', '.join(_FIELDS)} {_WAITS} order by at limit {AT_ONCE}"
            ).fetchall()
            with transaction(connection, CARGO_S), connection.cursor() as cursor:
                cursor.executemany(_PUT, rows)
            file.execute("begin immediate")
            file.executemany(_SHIPPED, [(*row[:4], row[5]) for row in rows])
            file.execute("commit")
        return len(rows) == AT_ONCE
