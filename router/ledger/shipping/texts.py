"""Kept texts on their way from one host's file to all hosts: moved, not copied, still sealed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.units import DAY_S
from router.database.connection import transaction
from router.errors import BadSettings
from router.ledger.shipping.cargo import CARGO_S
from students.texts.cipher import TextCipher
from students.texts.fleet import apply_forgotten
from students.texts.store import open_texts

if TYPE_CHECKING:
    from psycopg import Connection

AT_ONCE = 500
EXPIRE_EVERY_S = 60.0
_FIELDS = ("request_id", "at", "kind", "propensity", "recognised", "sealed")
_PUT = (
    f"insert into raisehand.texts (task, {', '.join(_FIELDS)}) "
    f"values ({', '.join(['%s'] * (1 + len(_FIELDS)))}) on conflict do nothing"
)


class TextCargo:
    """The texts of one task in a host's file.

    Args:
        path: the file.
        task: whose texts.
        cipher: with which they are sealed; all hosts need the same key.
        keep_days: after so long the database forgets them.
        wall: the time, in Unix seconds.
    """

    def __init__(
        self,
        path: Path,
        task: str,
        cipher: TextCipher,
        keep_days: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name = f"the kept texts of {task}"
        self._path = path
        self._task = task
        self._fingerprint = cipher.recognise("")
        self._keep_s = keep_days * DAY_S
        self._wall = wall
        self._expire_at = 0.0

    def waits(self) -> bool:
        """Tell whether there are any, or some are too old."""
        if not self._path.is_file():
            return False
        if time.monotonic() >= self._expire_at:
            return True
        with closing(sqlite3.connect(self._path, timeout=1.0)) as file:
            found = file.execute("select 1 from texts where task = ? limit 1", (self._task,))
            return found.fetchone() is not None

    def ship(self, connection: Connection) -> bool:
        """Move the next of them; what was to be forgotten meanwhile does not stay.

        Raises:
            BadSettings: other hosts seal this task's texts with another key.
        """
        with closing(open_texts(self._path)) as file:
            rows = file.execute(
                f"select id, {', '.join(_FIELDS)} from texts where task = ? order by id limit ?",
                (self._task, AT_ONCE),
            ).fetchall()
            with transaction(connection, CARGO_S):
                self._check_key(connection)
                with connection.cursor() as cursor:
                    cursor.executemany(_PUT, [(self._task, *row[1:]) for row in rows])
                apply_forgotten(connection, self._task)
                self._expire(connection)
            file.execute("begin immediate")
            file.executemany("delete from texts where id = ?", [row[:1] for row in rows])
            file.execute("commit")
        return len(rows) == AT_ONCE

    def _check_key(self, connection: Connection) -> None:
        connection.execute(
            "insert into raisehand.text_keys as k values (%s, %s) on conflict (task) do update "
            "set fingerprint = excluded.fingerprint "
            "where not exists (select 1 from raisehand.texts t where t.task = k.task)",
            (self._task, self._fingerprint),
        )
        row = connection.execute(
            "select fingerprint from raisehand.text_keys where task = %s", (self._task,)
        ).fetchone()
        if row != (self._fingerprint,):
            raise BadSettings(
                f"other hosts seal the texts of {self._task} with another key: give all hosts one "
                "key (store_texts: key_env or key_file)"
            )

    def _expire(self, connection: Connection) -> None:
        if time.monotonic() < self._expire_at:
            return
        before = self._wall() - self._keep_s
        for table, moment in (("texts", "at"), ("forgotten", "until")):
            connection.execute(
                f"delete from raisehand.{table} where task = %s and {moment} < %s",
                (self._task, before),
            )
        self._expire_at = time.monotonic() + EXPIRE_EVERY_S
