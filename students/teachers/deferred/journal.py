"""What was sent off and what came back, on disk before anybody waits for it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from students.errors import BadInputs

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    draft TEXT PRIMARY KEY, id TEXT, place TEXT NOT NULL, ended INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, draft TEXT NOT NULL REFERENCES batches (draft), reply TEXT
);
CREATE INDEX IF NOT EXISTS requests_of ON requests (draft);
"""


class DeferredJournal:
    """Batches and their requests, by key; every method is one durable transaction.

    A batch is a draft until the provider gave it an id. `place` is where it was sent.

    Raises:
        BadInputs: the file cannot be used, or another process has it open.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise BadInputs(
                f"{path} cannot be opened ({error}); is another command waiting for a batch?"
            ) from None

    def begin(self, draft: str, keys: Iterable[str], place: str) -> None:
        """Write down a batch that is about to be sent, and what is in it."""
        self._db.execute("BEGIN")
        self._db.execute("INSERT INTO batches (draft, place) VALUES (?, ?)", (draft, place))
        self._db.executemany(
            "INSERT OR REPLACE INTO requests (key, draft) VALUES (?, ?)",
            [(key, draft) for key in keys],
        )
        self._db.execute("COMMIT")

    def sent(self, draft: str, batch: str) -> None:
        """Write down the id that the provider gave to a batch."""
        self._db.execute("UPDATE batches SET id = ? WHERE draft = ?", (batch, draft))

    def open(self, place: str) -> list[tuple[str, str | None]]:
        """Return the batches that have not ended, as draft and id; None: not surely sent."""
        rows = self._db.execute(
            "SELECT draft, id FROM batches WHERE place = ? AND NOT ended ORDER BY rowid", (place,)
        )
        return [(str(draft), None if batch is None else str(batch)) for draft, batch in rows]

    def keys(self, draft: str) -> list[str]:
        """Return what is in a batch and has no reply."""
        rows = self._db.execute(
            "SELECT key FROM requests WHERE draft = ? AND reply IS NULL", (draft,)
        )
        return [str(key) for (key,) in rows]

    def end(self, draft: str, replies: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep the replies of a batch that ended; what got none can be asked again."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "UPDATE requests SET reply = ? WHERE key = ?",
            [(json.dumps(reply), key) for key, reply in replies.items()],
        )
        self._db.execute("DELETE FROM requests WHERE draft = ? AND reply IS NULL", (draft,))
        self._db.execute("UPDATE batches SET ended = 1 WHERE draft = ?", (draft,))
        self._db.execute("COMMIT")

    def reply(self, key: str) -> dict[str, Any] | None:
        """Return the reply to a request, where it came back."""
        row = self._db.execute("SELECT reply FROM requests WHERE key = ?", (key,)).fetchone()
        found: dict[str, Any] | None = None if row is None or row[0] is None else json.loads(row[0])
        return found

    def close(self) -> None:
        """Give the file free."""
        self._db.close()
