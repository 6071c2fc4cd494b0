"""Every answer that was paid for, on disk the moment it arrives."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.money.pricing import TokenUsage
from students.errors import BadInputs
from students.label.answers import Answers, CachedAnswer
from students.label.spending import PAID_BY, CallLog, find_lost
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
    payer TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (teacher, text_sha256, repeat)
);
CREATE TABLE IF NOT EXISTS broken_calls (
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    usd TEXT NOT NULL,
    confirmed INTEGER NOT NULL,
    asked_at TEXT NOT NULL,
    payer TEXT NOT NULL DEFAULT '',
    keys BLOB NOT NULL DEFAULT x'',
    repeat INTEGER NOT NULL DEFAULT 0,
    call TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS calls_in_flight (
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    usd TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    payer TEXT NOT NULL,
    keys BLOB NOT NULL,
    repeat INTEGER NOT NULL DEFAULT 0,
    call TEXT NOT NULL DEFAULT ''
);
"""
_ADDED = {
    "replies": {"refused": "INTEGER", "estimated": "INTEGER", "payer": "TEXT"},
    "broken_calls": {"payer": "TEXT", "keys": "BLOB", "repeat": "INTEGER", "call": "TEXT"},
    "calls_in_flight": {"repeat": "INTEGER", "call": "TEXT"},
}
"""Columns that files of older releases lack."""
_NOTHING = {"INTEGER": "0", "TEXT": "''", "BLOB": "x''"}
_READ = (
    "probabilities, other, truncated, input_tokens, output_tokens, cached_input_tokens, usd, "
    "refused, estimated"
)
_KEYS_AT_ONCE = 500


class ReplyCache:
    """Answers of one teacher, keyed by (everything that makes it this teacher, text, repeat).

    `repeat` 0 is the label; 1 is the second asking that self-agreement is measured with. Every
    `put` is one transaction in write-ahead mode, so that a killed process loses nothing that it
    was told. One process at a time: two would ask, and pay, twice.

    Attributes:
        calls: what was asked and gave no answer, or not yet.

    Raises:
        BadInputs: another process has it open, or the file is no cache.
    """

    def __init__(self, path: Path, descriptor: TeacherDescriptor, payer: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        canonical = json.dumps(astuple(descriptor))
        try:
            self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA cache_size = -65536")  # KiB: hashes go to pages at random
            # A checkpoint waits for the disk while the teacher stands idle: one every 64 MB.
            self._db.execute("PRAGMA wal_autocheckpoint = 16384")
            self._db.executescript(_SCHEMA)
            self._add_columns()
            find_lost(self._db)
            key = hashlib.sha256(canonical.encode()).digest()
            self._db.execute(
                "INSERT OR IGNORE INTO teachers (sha256, descriptor) VALUES (?, ?)",
                (key, canonical),
            )
            row = self._db.execute("SELECT id FROM teachers WHERE sha256 = ?", (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise BadInputs(
                f"{path} cannot be opened ({error}); is another `raisehand label` or `raisehand "
                "batch` running?"
            ) from None
        except sqlite3.DatabaseError as error:
            raise BadInputs(f"{path} is no cache of answers ({error}); move it away") from None
        self._teacher = int(row[0])
        self.calls = CallLog(self._db, self._teacher, payer)

    def _add_columns(self) -> None:
        """Bring a file that an older release began up to date; its answers stay."""
        for table, columns in _ADDED.items():
            there = {row[1] for row in self._db.execute(f"PRAGMA table_info({table})")}
            for name, kind in columns.items():
                if name not in there:
                    self._db.execute(
                        f"ALTER TABLE {table} ADD COLUMN {name} {kind} NOT NULL "
                        f"DEFAULT {_NOTHING[kind]}"
                    )

    def read(self, texts: Sequence[str], repeat: int = 0) -> Answers:
        """Return what is known, by position in `texts`; free where another job paid for it."""
        wanted = {text_key(text): i for i, text in enumerate(texts)}
        found = Answers(len(texts))
        rows = self._db.execute(
            f"SELECT text_sha256, payer, {_READ} FROM replies WHERE teacher = ? AND repeat = ?",
            (self._teacher, repeat),
        )
        while some := rows.fetchmany(_KEYS_AT_ONCE):
            here = {
                wanted[key]: replace(_kept(row), usd=Decimal(0)) if payer else _kept(row)
                for key, payer, *row in some
                if key in wanted
            }
            found.fill(list(here), list(here.values()))
        return found

    def find(self, texts: Sequence[str]) -> tuple[Answers, dict[int, str]]:
        """As `read`, of few texts among many answers, and who paid for each."""
        found = Answers(len(texts))
        payers: dict[int, str] = {}
        places = {text_key(text): i for i, text in enumerate(texts)}
        keys = list(places)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            rows = self._db.execute(
                f"SELECT text_sha256, payer, {_READ} FROM replies WHERE teacher = ? "
                f"AND repeat = 0 AND text_sha256 IN ({', '.join('?' * len(some))})",
                (self._teacher, *some),
            )
            here = {places[key]: (str(payer), _kept(row)) for key, payer, *row in rows}
            found.fill(list(here), [kept for _, kept in here.values()])
            payers |= {place: payer for place, (payer, _) in here.items()}
        return found, payers

    def usage(self, key: bytes) -> TokenUsage | None:
        """Return what asking about a text consumed, by its `text_key`; None where it is unknown."""
        row = self._db.execute(
            f"SELECT {_READ} FROM replies WHERE teacher = ? AND text_sha256 = ? AND repeat = 0",
            (self._teacher, key),
        ).fetchone()
        return None if row is None else _kept(row).usage

    def paid(self, payers: str = "") -> Decimal:
        """Return what labelling paid, whatever for; or those whose names begin with `payers`."""
        rows = self._db.execute(
            f"SELECT usd FROM replies WHERE teacher = ? AND {PAID_BY}",
            (self._teacher, payers, len(payers), payers),
        )
        return sum((Decimal(usd) for (usd,) in rows), Decimal(0))

    def any(self) -> bool:
        """Return whether this teacher ever answered: its contract was checked before."""
        query = "SELECT EXISTS (SELECT 1 FROM replies WHERE teacher = ?)"
        return bool(self._db.execute(query, (self._teacher,)).fetchone()[0])

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
        when = at.isoformat()
        rows = [
            (
                self._teacher,
                text_key(text),
                repeat,
                array("d", reply.distribution.probabilities).tobytes(),
                reply.distribution.other,
                int(reply.distribution.truncated),
                reply.usage.input_tokens,
                reply.usage.output_tokens,
                reply.usage.cached_input_tokens,
                str(cost),
                when,
                reply.wording,
                reply.raw,
                int(reply.distribution.refused),
                int(reply.estimated),
                self.calls.payer,
            )
            for text, reply, cost in zip(texts, replies, usd, strict=True)
        ]
        try:
            self._db.execute("BEGIN")
            self._db.executemany(
                f"INSERT OR REPLACE INTO replies VALUES ({', '.join('?' * 16)})", rows
            )
            self.calls.put_returned(list(map(text_key, texts)), repeat)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise BadInputs(
                f"{self.path} cannot be written ({error}), so labelling stops rather than pay for "
                "answers it cannot keep; free some space and run the same command again"
            ) from None

    def sync(self) -> None:
        """Return when all that was put is on the disk, whatever happens to the machine."""
        log = self.path.with_name(self.path.name + "-wal")
        with log.open("rb") as stream:
            os.fsync(stream.fileno())

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


@lru_cache(maxsize=4_096)
def text_key(text: str) -> bytes:
    """Fingerprint of a text, also of one with lone surrogates."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _kept(row: Sequence[Any]) -> CachedAnswer:
    """What the columns `_READ` say."""
    p, other, truncated, tokens, written, cached, usd, refused, estimated = row
    return CachedAnswer(
        LabelDistribution(tuple(np.frombuffer(p).tolist()), other, bool(truncated), bool(refused)),
        TokenUsage(tokens, written, cached),
        Decimal(usd),
        bool(estimated),
    )
