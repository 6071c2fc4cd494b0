"""What became known later of an answer: its gold label, or whether it was right.

It lies in the ledger's file, one row for each request and who judged it, and comes when it comes: a
request whose own row is not stored yet, or was folded, is no error here.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from router.errors import Unavailable
from router.ledger.schema import open_file, prepare

WAIT_MS = 5_000
"""How long feedback waits for others who write to the file; nobody's answer waits for it."""


class FeedbackSource(StrEnum):
    """Who judged an answer, the most trusted first."""

    REVIEWER = "reviewer"
    USER = "user"
    SYSTEM = "system"


class Received(StrEnum):
    """What became of feedback."""

    NEW = "new"
    SAME = "same"
    """It was there already: said twice, it counts once."""
    CHANGED = "changed"
    """The same source had said something else; the last word counts."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One judgement of one answer: its gold label, or only whether it was right."""

    request_id: str
    task: str
    source: FeedbackSource
    client: str
    """Name of the API key that said it; it counts for this key's own requests."""
    reviewer: bool
    """Whether the key may judge the requests of all keys."""
    at: float
    """Unix time, seconds."""
    gold: str | None = None
    correct: bool | None = None


class FeedbackBox(Protocol):
    """Where verdicts go."""

    def put(self, verdict: Judgement) -> Received:
        """Store a verdict; blocking.

        Raises:
            Unavailable: it cannot be stored now.
        """
        ...


class MemoryFeedback:
    """Keeps verdicts in a dictionary: the shipped fake."""

    def __init__(self) -> None:
        self.verdicts: dict[tuple[str, str, FeedbackSource, str], Judgement] = {}

    def put(self, verdict: Judgement) -> Received:
        """Keep it."""
        key = (verdict.task, verdict.request_id, verdict.source, verdict.client)
        known, self.verdicts[key] = self.verdicts.get(key), verdict
        return _received(None if known is None else (known.gold, known.correct), verdict)


class SqliteFeedback:
    """Verdicts in the ledger's file, each stored before it is acknowledged.

    Raises:
        BadLedger: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        prepare(path, open_file)

    def put(self, verdict: Judgement) -> Received:
        """Store it; what is said again changes nothing.

        Raises:
            Unavailable: the file is locked, full or gone.
        """
        try:
            with closing(open_file(self._path)) as connection:
                connection.execute(f"pragma busy_timeout = {WAIT_MS}")
                connection.execute("begin immediate")
                before = connection.execute(_BEFORE, _key(verdict)).fetchone()
                received = _received(before and (before[0], _bool(before[1])), verdict)
                if received is not Received.SAME:
                    connection.execute(_PUT, (*_key(verdict), *_said(verdict)))
                connection.execute("commit")
                return received
        except sqlite3.Error:
            raise Unavailable("The feedback cannot be stored now; send it again.") from None


def has_feedback(connection: sqlite3.Connection) -> bool:
    """Tell whether a ledger's file was made, or opened since, by a version that takes feedback."""
    found = connection.execute("select 1 from sqlite_master where name = 'feedback'").fetchone()
    return found is not None


def _received(before: tuple[str | None, bool | None] | None, verdict: Judgement) -> Received:
    if before is None:
        return Received.NEW
    return Received.SAME if before == (verdict.gold, verdict.correct) else Received.CHANGED


def _key(verdict: Judgement) -> tuple[str, str, str, str]:
    return verdict.request_id, verdict.task, verdict.source.value, verdict.client


def _said(verdict: Judgement) -> tuple[object, ...]:
    return verdict.reviewer, verdict.at, verdict.gold, verdict.correct


def _bool(value: int | None) -> bool | None:
    return None if value is None else bool(value)


_FIELDS = ("request_id", "task", "source", "client", "reviewer", "at", "gold", "correct")
_BEFORE = (
    "select gold, correct from feedback "
    "where request_id = ? and task = ? and source = ? and client = ?"
)
_PUT = f"insert or replace into feedback ({', '.join(_FIELDS)}) values (?, ?, ?, ?, ?, ?, ?, ?)"
