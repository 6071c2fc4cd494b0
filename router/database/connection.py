"""Connections that end instead of hanging, and work behind a pooler that lends them by transaction.

Nothing here changes a session (no SET, no prepared statement, no session lock): PgBouncer in
transaction mode would give it to somebody else. Limits are set in each transaction.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from router.database.url import check_url, shown
from router.errors import BadDatabase

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_S = 3
SILENT_S = 10
"""A connection on which the other side says nothing for so long is given up."""
LOCK_S = 1.0


def parameters(url: str, name: str) -> dict[str, Any]:
    """Return what `psycopg.connect` (or a pool, as its `kwargs`) is given; the address wins.

    Args:
        url: where the database is.
        name: what the connection is for; `pg_stat_activity` shows it.
    """
    from psycopg.conninfo import conninfo_to_dict

    check_url(url)
    defaults = {
        "application_name": f"raisehand {version('raisehand')} {name}"[:63],
        "connect_timeout": CONNECT_S,
        "keepalives_idle": SILENT_S,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENT_S * 1_000,
    }
    return defaults | conninfo_to_dict(url) | {"autocommit": True, "prepare_threshold": None}


def connect(url: str, name: str, *, autocommit: bool = True) -> Connection:
    """Connect, or raise psycopg.OperationalError when the database is away.

    Raises:
        BadDatabase: the address is wrong or the library is missing.
    """
    given = parameters(url, name)
    import psycopg

    return psycopg.connect(**given | {"autocommit": autocommit})


@contextmanager
def transaction(
    connection: Connection, seconds: float, lock_s: float = LOCK_S
) -> Iterator[Connection]:
    """Run one transaction whose statements end within `seconds` and wait for no lock for long.

    The server keeps these limits. One that hangs keeps none, and is left after twice the time.
    """
    with cut_after(connection, 2 * seconds + CONNECT_S), connection.transaction():
        connection.execute(
            "select set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"
            ", set_config('idle_in_transaction_session_timeout', %s, true)",
            [f"{max(1, round(limit * 1_000))}ms" for limit in (seconds, lock_s, 2 * seconds)],
        )
        yield connection


@contextmanager
def cut_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Cut a connection that is still being waited on after so long: it fails instead of hanging.

    A server that was stopped, or a proxy before it, acknowledges every byte and never answers.
    """
    timer = threading.Timer(seconds, _cut, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


@contextmanager
def reading(url: str, name: str) -> Iterator[Connection]:
    """Connect for a command; what the database says against it becomes one sentence.

    Raises:
        BadDatabase: it is away, refuses, or has not the tables that are asked for.
    """
    check_url(url)
    import psycopg

    try:
        with connect(url, name) as connection:
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise BadDatabase(
            f"{shown(url)} has not the tables of this version; run `raisehand database migrate`"
        ) from None
    except psycopg.Error as error:
        fault = str(error).strip().splitlines() or [type(error).__name__]
        raise BadDatabase(
            f"the database {shown(url)} cannot be used: {fault[0]}; see that it runs and lets you "
            "in"
        ) from None


def instance_name() -> str:
    """Return what this process is called where several show themselves: its host's name."""
    return os.uname().nodename
