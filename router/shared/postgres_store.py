"""The store of several hosts: tables of a PostgreSQL, written in one transaction as the file's are.

No LISTEN: it would save a tenth of a second on the average, and cost each worker a connection of
its own that no pooler may lend. Whoever follows rulings reads the small table instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from router.database.connection import connect, transaction
from router.database.locks import DatabaseLock
from router.database.migrate import SCHEMA
from router.database.url import check_url, shown
from router.shared.records import StoreAway
from router.shared.store import Execute, Rows, Store

if TYPE_CHECKING:
    from psycopg import Connection

STATEMENT_S = 5.0
LOCK_S = 5.0
"""How long another worker's transaction is waited for."""


class PostgresStore(Store):
    """One connection, opened with the first use and again after a fault.

    Raises:
        BadDatabase: the address is wrong or the library is missing.
    """

    for_update = " for update"
    in_order = f"select pg_advisory_xact_lock({int(DatabaseLock.EVENTS)})"

    def __init__(self, url: str) -> None:
        check_url(url)
        self._url = url
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def _now(self, execute: Execute) -> float:
        """Return the database's time: clocks of hosts differ."""
        return float(execute("select extract(epoch from clock_timestamp())::float8", ())[0][0])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._discard()

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Execute]:
        """Commit at the end, or leave nothing."""
        import psycopg

        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect(self._url, "shared")
                with transaction(self._connection, STATEMENT_S, LOCK_S) as connection:
                    connection.execute("select set_config('search_path', %s, true)", (SCHEMA,))
                    yield _executing(connection)
            except psycopg.errors.UndefinedTable as error:
                raise StoreAway(
                    f"{shown(self._url)} has not the tables of this version; run `raisehand "
                    "database migrate`"
                ) from error
            except psycopg.Error as error:
                self._discard()
                fault = str(error).strip().splitlines() or [type(error).__name__]
                raise StoreAway(f"{shown(self._url)} cannot be used: {fault[0]}") from error
            except BaseException:
                self._discard()
                raise

    def _discard(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
        self._connection = None


def _executing(connection: Connection) -> Execute:
    def execute(statement: str, values: object) -> Rows:
        cursor = connection.execute(statement, values)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description is not None else []

    return execute
