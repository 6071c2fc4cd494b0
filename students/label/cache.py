"""Every answer that was paid for, on disk the moment it arrives."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from costmodel.money.pricing import TokenUsage
from students.errors import BadInputs
from students.label.answers import Answers, CachedAnswer
from students.labels import LabelDistribution
from students.teachers.protocol import TeacherDescriptor, TeacherReply

_SCHEMA = """
CREATE TABLE IF NOT EXISTS teachers (
    id INTEGER PRIMARY KEY, sha256 BLOB UNIQUE NOT NULL, descriptor TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS replies (
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    text_sha256 BLOB NOT NULL,
    repeat INTEGER NOT NULL,
    probabilities BLOB NOT NULL,
    other REAL NOT NULL,
    truncated INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    usd TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    wording TEXT NOT NULL,
    raw TEXT NOT NULL,
    refused INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (teacher, text_sha256, repeat)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS broken_calls (
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    usd TEXT NOT NULL,
    confirmed INTEGER NOT NULL,
    asked_at TEXT NOT NULL
);
"""
_ADDED = ("refused", "estimated")
"""Columns that files of older releases lack."""


class ReplyCache:
    """Answers of one teacher, keyed by (everything that makes it this teacher, text, repeat).

    `repeat` 0 is the label; 1 is the second asking that self-agreement is measured with. Every
    `put` is one transaction in write-ahead mode, so that a killed process loses nothing that it
    was told. One process at a time: two would ask, and pay, twice.

    Raises:
        BadInputs: another process has it open, or the file is no cache.
    """

    def __init__(self, path: Path, descriptor: TeacherDescriptor) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        canonical = json.dumps(astuple(descriptor))
        try:
            self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            # A checkpoint waits for the disk while the teacher stands idle: one every 64 MB.
            self._db.execute("PRAGMA wal_autocheckpoint = 16384")
            self._db.executescript(_SCHEMA)
            self._add_columns()
            key = hashlib.sha256(canonical.encode()).digest()
            self._db.execute(
                "INSERT OR IGNORE INTO teachers (sha256, descriptor) VALUES (?, ?)",
                (key, canonical),
            )
            row = self._db.execute("SELECT id FROM teachers WHERE sha256 = ?", (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise BadInputs(
                f"{path} cannot be opened ({error}); is another `raisehand label` running?"
            ) from None
        except sqlite3.DatabaseError as error:
            raise BadInputs(f"{path} is no cache of answers ({error}); move it away") from None
        self._teacher = int(row[0])

    def _add_columns(self) -> None:
        """Bring a file that an older release began up to date; its answers stay."""
        there = {row[1] for row in self._db.execute("PRAGMA table_info(replies)")}
        for name in _ADDED:
            if name not in there:
                self._db.execute(
                    f"ALTER TABLE replies ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0"
                )

    def read(self, texts: Sequence[str], repeat: int = 0) -> Answers:
        """Return what is known, by position in `texts`."""
        wanted = {text_key(text): i for i, text in enumerate(texts)}
        found = Answers(len(texts))
        rows = self._db.execute(
            "SELECT text_sha256, probabilities, other, truncated, input_tokens, output_tokens, "
            "cached_input_tokens, usd, refused, estimated FROM replies "
            "WHERE teacher = ? AND repeat = ?",
            (self._teacher, repeat),
        )
        for key, p, other, truncated, tokens, written, cached, usd, refused, estimated in rows:
            position = wanted.get(key)
            if position is not None:
                probabilities = tuple(np.frombuffer(p).tolist())
                found[position] = CachedAnswer(
                    LabelDistribution(probabilities, other, bool(truncated), bool(refused)),
                    TokenUsage(tokens, written, cached),
                    Decimal(usd),
                    bool(estimated),
                )
        return found

    def paid(self) -> Decimal:
        """Return what this teacher's answers cost, whatever they were asked for."""
        rows = self._db.execute("SELECT usd FROM replies WHERE teacher = ?", (self._teacher,))
        return sum((Decimal(usd) for (usd,) in rows), Decimal(0))

    def any(self) -> bool:
        """Return whether this teacher ever answered: its contract was checked before."""
        row = self._db.execute("SELECT 1 FROM replies WHERE teacher = ? LIMIT 1", (self._teacher,))
        return row.fetchone() is not None

    def put(
        self,
        texts: Sequence[str],
        replies: Sequence[TeacherReply],
        usd: Sequence[Decimal],
        at: datetime,
        repeat: int = 0,
    ) -> None:
        """Keep answers, all or none, before anything is done with them.

        Raises:
            BadInputs: the file cannot be written.
        """
        rows = [
            (
                self._teacher,
                text_key(text),
                repeat,
                np.array(reply.distribution.probabilities).tobytes(),
                reply.distribution.other,
                int(reply.distribution.truncated),
                reply.usage.input_tokens,
                reply.usage.output_tokens,
                reply.usage.cached_input_tokens,
                str(cost),
                at.isoformat(),
                reply.wording,
                reply.raw,
                int(reply.distribution.refused),
                int(reply.estimated),
            )
            for text, reply, cost in zip(texts, replies, usd, strict=True)
        ]
        try:
            self._db.execute("BEGIN")
            self._db.executemany(
                f"INSERT OR REPLACE INTO replies VALUES ({', '.join('?' * 15)})", rows
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise BadInputs(
                f"{self.path} cannot be written ({error}), so labelling stops rather than pay for "
                "answers it cannot keep; free some space and run the same command again"
            ) from None

    def put_broken(self, usd: Decimal, confirmed: bool, at: datetime) -> None:
        """Remember the bill of a call that gave no answer; unconfirmed: it may have none."""
        self._db.execute(
            "INSERT INTO broken_calls VALUES (?, ?, ?, ?)",
            (self._teacher, str(usd), int(confirmed), at.isoformat()),
        )

    def broken(self) -> tuple[Decimal, Decimal]:
        """Return what calls without an answer cost, and what they may have cost on top."""
        sums = [Decimal(0), Decimal(0)]
        rows = self._db.execute(
            "SELECT usd, confirmed FROM broken_calls WHERE teacher = ?", (self._teacher,)
        )
        for usd, confirmed in rows:
            sums[0 if confirmed else 1] += Decimal(usd)
        return sums[0], sums[1]

    def raw(self, text: str, repeat: int = 0) -> str | None:
        """Return the teacher's reply to one text as it came."""
        row = self._db.execute(
            "SELECT raw FROM replies WHERE teacher = ? AND text_sha256 = ? AND repeat = ?",
            (self._teacher, text_key(text), repeat),
        ).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Give the file free."""
        self._db.close()

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def text_key(text: str) -> bytes:
    """Fingerprint of a text, also of one with lone surrogates."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
