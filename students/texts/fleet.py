"""Kept texts of all hosts in PostgreSQL: read to train, deleted by age and by hand.

Hosts bring them within seconds (`router.ledger.shipping.texts`). What is forgotten is written down
for as long as a host may still have a copy that it could not bring.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from costmodel.extras import require
from students.errors import BadTask
from students.texts.cipher import TextCipher
from students.texts.store import KeptText, unsealed

if TYPE_CHECKING:
    from psycopg import Connection

CLOCKS_DIFFER_S = 300.0
"""So much later than they were forgotten texts are still taken for older ones."""
AT_ONCE = 1_000
_OF_REQUEST = "(request_id = %s or starts_with(request_id, %s))"


class FleetShelf:
    """The texts of all hosts.

    Args:
        url: of the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def read(self, cipher: TextCipher, task: str, since: float = 0.0) -> Iterator[KeptText]:
        """Yield the kept texts of a task, the oldest first.

        Raises:
            BadTask: the database cannot be used, or they cannot be read with this key.
        """
        with _open(self._url) as connection, connection.cursor(name="texts") as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(
                "select request_id, at, kind, propensity, recognised, sealed from raisehand.texts "
                "where task = %s and at >= %s order by at, request_id",
                (task, since),
            )
            for row in cursor:
                yield unsealed(cipher, task, row)

    def forget(
        self, task: str, *, request_ids: Sequence[str] = (), recognised: Sequence[str] = ()
    ) -> int:
        """Delete texts by request id and by what recognises them; say how many there were.

        Those that a host has not brought yet are deleted when it brings them.

        Raises:
            BadTask: the database cannot be used.
        """
        until = time.time() + CLOCKS_DIFFER_S
        with _open(self._url) as connection:
            for its_id, one in [(i, "") for i in request_ids] + [("", r) for r in recognised]:
                connection.execute(_REMEMBER, (task, its_id, one, until))
            return apply_forgotten(connection, task)

    def recognised_of(self, task: str, request_ids: Sequence[str]) -> list[str]:
        """Return what recognises the texts of these requests.

        Raises:
            BadTask: the database cannot be used.
        """
        with _open(self._url) as connection:
            found = [
                row[0]
                for its_id in request_ids
                for row in connection.execute(
                    f"select recognised from raisehand.texts where task = %s and {_OF_REQUEST}",
                    (task, its_id, f"{its_id}."),
                )
            ]
        return list(dict.fromkeys(found))


def apply_forgotten(connection: Connection[Any], task: str) -> int:
    """Delete what is there and was to be forgotten, every copy of it; return how many."""
    named = connection.execute(
        "select request_id, recognised, until from raisehand.forgotten where task = %s", (task,)
    ).fetchall()
    gone = 0
    for its_id, one, until in named:
        if one:
            gone += connection.execute(
                "delete from raisehand.texts where task = %s and recognised = %s and at <= %s",
                (task, one, until),
            ).rowcount
            continue
        copies = connection.execute(
            f"delete from raisehand.texts where task = %s and at <= %s and {_OF_REQUEST} "
            "returning recognised",
            (task, until, its_id, f"{its_id}."),
        ).fetchall()
        for (copy,) in copies:  # and whatever other request said the same
            connection.execute(_REMEMBER, (task, "", copy, until))
            gone += (
                1
                + connection.execute(
                    "delete from raisehand.texts where task = %s and recognised = %s and at <= %s",
                    (task, copy, until),
                ).rowcount
            )
    return gone


@contextmanager
def _open(url: str) -> Iterator[Connection[Any]]:
    """Open one transaction.

    Raises:
        BadTask: with what the database says against it.
    """
    require("postgres")
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=5, prepare_threshold=None) as connection:
            yield connection
    except psycopg.errors.UndefinedTable:
        raise BadTask(
            "the database has no table of texts; run `raisehand database migrate`"
        ) from None
    except psycopg.Error as error:
        fault = str(error).strip().splitlines() or [type(error).__name__]
        raise BadTask(f"the database of the kept texts cannot be used: {fault[0]}") from None


_REMEMBER = (
    "insert into raisehand.forgotten values (%s, %s, %s, %s) "
    "on conflict (task, request_id, recognised) do update set until = excluded.until"
)
