"""The memory of a job: what it is about, and which chunks are written, booked and done with.

A row in it is the last thing that happens to a chunk. Whatever a kill leaves behind without one is
done again, from answers that are kept, to the same bytes.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from costmodel.frozen import Frozen
from router.errors import BadSettings
from router.shared.records import Ruling

FILE = "journal.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (id TEXT NOT NULL, facts TEXT NOT NULL, ruling TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (number INTEGER PRIMARY KEY, record TEXT NOT NULL);
"""


class RouteTally(Frozen):
    """Rows that got the same route for the same reason, and what they cost."""

    route: str
    reason: str
    rows: int
    student_usd: Decimal
    teacher_usd: Decimal


class ChunkRecord(Frozen):
    """What a chunk came to."""

    rows: int
    tallies: tuple[RouteTally, ...]
    audits: int
    disagreements: int
    lost_audits: int
    broken_calls: int
    broken_usd: Decimal
    """What calls without an answer cost, or may have cost."""
    faults: tuple[str, ...]
    """The first rows that held something else than text, for people."""
    ruling: str
    """What the next chunk goes by, as JSON."""


class JobJournal:
    """One job's memory on disk; one process at a time.

    Attributes:
        job: its name, in ledgers and caches.
        done: the record of each chunk that is done with, in order.
        ruling: on the bundle, when the job began or after the last chunk that is done.

    Args:
        folder: where it is, or is begun.
        facts: what makes it this job, in words for people.
        ruling: on the bundle, for a job that begins.

    Raises:
        BadSettings: another process works on it, or it is about something else.
    """

    def __init__(self, folder: Path, facts: Mapping[str, str], ruling: Ruling) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        path = folder / FILE
        try:
            self._db = sqlite3.connect(
                path, timeout=1.0, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._db.execute("BEGIN IMMEDIATE")
            row = self._db.execute("SELECT id, facts, ruling FROM job").fetchone()
            if row is None:
                row = (secrets.token_hex(6), json.dumps(facts), ruling_words(ruling))
                self._db.execute("INSERT INTO job VALUES (?, ?, ?)", row)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise BadSettings(
                f"{path} cannot be opened ({error}); is another `raisehand batch` writing there?"
            ) from None
        except sqlite3.DatabaseError as error:
            raise BadSettings(f"{path} is no journal ({error}); remove {folder}") from None
        self.job = str(row[0])
        self._check(json.loads(row[1]), facts)
        self.done = [
            ChunkRecord.model_validate_json(record)
            for (record,) in self._db.execute("SELECT record FROM chunks ORDER BY number")
        ]
        last = self.done[-1].ruling if self.done else str(row[2])
        self.ruling = msgspec.json.decode(last, type=Ruling)

    def put(self, record: ChunkRecord) -> None:
        """Write the next chunk down as done, durably."""
        self._db.execute(
            "INSERT INTO chunks VALUES (?, ?)", (len(self.done), record.model_dump_json())
        )
        self.done.append(record)

    def close(self) -> None:
        """Give the file free."""
        self._db.close()

    def _check(self, was: Mapping[str, str], facts: Mapping[str, str]) -> None:
        changed = [
            f"{name} was {was.get(name, 'not given')} and is now {facts.get(name, 'not given')}"
            for name in {**was, **facts}
            if was.get(name) != facts.get(name)
        ]
        if changed:
            self.close()
            raise BadSettings(
                f"{self._folder} holds an unfinished job about something else: "
                f"{'; '.join(changed)}; run that one's command to finish it, name another OUT, or "
                "remove the folder (answers that were paid for are kept elsewhere)"
            )


def ruling_words(ruling: Ruling) -> str:
    """Return a ruling as a record keeps it."""
    return msgspec.json.encode(ruling).decode()
