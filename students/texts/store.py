"""The file of kept texts: written beside the requests, read to train, emptied by age and by hand.

Kept are escalations and audits, with what student and teacher said, and where the task wants it a
share of the other inputs. Everything that says something of a text is encrypted; in the clear are
its task, request id, moment, kind and propensity.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from costmodel.units import DAY_S
from students.errors import BadTask
from students.private_file import make_private
from students.sections import TextsSection
from students.texts.cipher import TextCipher
from students.texts.pii import mask

TEXTS_FILE = "texts.sqlite"
"""In the work_dir."""
CAPACITY = 20_000
"""Texts that wait in memory while the file is busy; beyond it they are dropped and counted."""
TICK_S = 0.1
EXPIRE_EVERY_S = 60.0
log = logging.getLogger(__name__)
Kind = Literal["escalation", "audit", "input"]
_CREATE = """
create table if not exists texts (
    id integer primary key autoincrement,
    task text not null,
    request_id text not null,
    at real not null,
    kind text not null,
    propensity real not null,
    recognised text not null,
    sealed blob not null
);
create index if not exists texts_at on texts (at);
create index if not exists texts_request on texts (request_id);
create index if not exists texts_recognised on texts (recognised);
"""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What is encrypted: the text, and what student and teacher said of it."""

    text: str
    student_label: str | None = None
    confidence: float | None = None
    teacher_label: str | None = None
    """Empty: it answered, and no label. None: it was not asked, or did not answer."""
    probabilities: list[float] | None = None
    """The teacher's, by label."""
    other: float = 0.0
    """What it put on no label."""
    teacher: str = ""
    """Which teacher: model and revision as the task names them."""


class KeptText(msgspec.Struct, frozen=True, kw_only=True):
    """One text of the traffic."""

    task: str
    request_id: str
    at: float
    """Unix time, seconds."""
    kind: Kind
    propensity: float
    """With which the router drew it for an audit; 0: not drawn."""
    said: Said
    recognised: str = ""
    """The same for the same text; given by the store."""


class TextWriter:
    """Stores texts on a thread of its own: a request pays one append.

    Args:
        path: the file.
        section: for how long, and whether what names a person is masked before it is stored.
    """

    def __init__(
        self,
        path: Path,
        cipher: TextCipher,
        section: TextsSection,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.stored = 0
        self.dropped = 0
        self.expired = 0
        self.masked: Counter[str] = Counter()
        """By kind, what was masked."""
        self._cipher = cipher
        self._section = section
        self._wall = wall
        self._pending: deque[KeptText] = deque()
        self._closing = threading.Event()
        self._expire_at = 0.0
        self._thread = threading.Thread(target=self._run, name="texts", daemon=True)
        self._thread.start()

    def put(self, kept: KeptText) -> None:
        """Take a text, or count it as dropped."""
        if len(self._pending) < CAPACITY and not self._closing.is_set():
            self._pending.append(kept)
        else:
            self.dropped += 1

    def close(self) -> None:
        """Store what waits, if the file allows it."""
        self._closing.set()
        self._thread.join()
        self.dropped += len(self._pending)

    def _run(self) -> None:
        failed = False
        while True:
            last = self._closing.wait(TICK_S)
            try:
                self._write()
                failed = False
            except (OSError, sqlite3.Error) as error:
                if not failed:
                    log.warning("texts %s: %s; %d wait", self.path, error, len(self._pending))
                failed = True
            except Exception:  # a fault of one must not end them all
                log.exception("texts cannot be stored")
                self.dropped += len(self._pending)
                self._pending.clear()
            if last:
                return

    def _write(self) -> None:
        now = time.monotonic()
        if not self._pending and now < self._expire_at:
            return
        with closing(_open(self.path)) as connection:
            n = len(self._pending)
            rows = [self._row(self._pending[i]) for i in range(n)]
            connection.execute("begin immediate")
            connection.executemany(_INSERT, rows)
            before = self._wall() - self._section.keep_days * DAY_S
            gone = connection.execute("delete from texts where at < ?", (before,)).rowcount
            connection.execute("commit")
        for _ in range(n):
            self._pending.popleft()
        self.stored += n
        self.expired += gone
        self._expire_at = now + EXPIRE_EVERY_S

    def _row(self, kept: KeptText) -> tuple[object, ...]:
        said, recognised = kept.said, self._cipher.recognise(kept.said.text)
        if self._section.mask:
            said = msgspec.structs.replace(said, text=mask(said.text, self.masked))
        place = _place(kept.task, kept.request_id, kept.at)
        sealed = self._cipher.encrypt(msgspec.json.encode(said), place)
        return (
            kept.task, kept.request_id, kept.at, kept.kind, kept.propensity, recognised, sealed,
        )  # fmt: skip


def read_texts(path: Path, cipher: TextCipher, task: str, since: float = 0.0) -> Iterator[KeptText]:
    """Yield the kept texts of a task, the oldest first.

    Raises:
        BadTask: there is no file, or it cannot be read with this key.
    """
    with closing(open_texts(path)) as connection:
        rows = connection.execute(
            "select request_id, at, kind, propensity, recognised, sealed from texts "
            "where task = ? and at >= ? order by id",
            (task, since),
        )
        for row in rows:
            yield unsealed(cipher, task, row)


def unsealed(cipher: TextCipher, task: str, row: Sequence[Any]) -> KeptText:
    """Read a row: request id, moment, kind, propensity, what recognises it, what is sealed.

    Raises:
        BadTask: it cannot be read with this key.
    """
    request_id, at, kind, propensity, recognised, sealed = row
    return KeptText(
        task=task,
        request_id=request_id,
        at=at,
        kind=kind,
        propensity=propensity,
        said=msgspec.json.decode(cipher.decrypt(sealed, _place(task, request_id, at)), type=Said),
        recognised=recognised,
    )


def _place(task: str, request_id: str, at: float) -> str:
    """Name the row that a sealed text belongs to; the file gives a whole second back as a float."""
    return f"{task}\0{request_id}\0{float(at)!r}"


def forget(
    path: Path, task: str, *, request_ids: Sequence[str] = (), recognised: Sequence[str] = ()
) -> int:
    """Delete texts by request id (a list's texts, too) and by what recognises them; say how many.

    Raises:
        BadTask: there is no file.
    """
    with closing(open_texts(path)) as connection:
        connection.execute("begin immediate")
        gone = 0
        for its_id in request_ids:
            gone += connection.execute(
                "delete from texts where task = ? and (request_id = ? or "
                "substr(request_id, 1, length(?) + 1) = ? || '.')",
                (task, its_id, its_id, its_id),
            ).rowcount
        for one in recognised:
            gone += connection.execute(
                "delete from texts where task = ? and recognised = ?", (task, one)
            ).rowcount
        connection.execute("commit")
        with suppress(sqlite3.Error):  # a reader may be in the way; the pages are encrypted
            connection.execute("pragma wal_checkpoint(truncate)")
    return gone


def recognised_of(path: Path, task: str, request_ids: Sequence[str]) -> list[str]:
    """Return what recognises the texts of these requests."""
    with closing(open_texts(path)) as connection:
        found = [
            row[0]
            for its_id in request_ids
            for row in connection.execute(
                "select recognised from texts where task = ? and (request_id = ? or "
                "substr(request_id, 1, length(?) + 1) = ? || '.')",
                (task, its_id, its_id, its_id),
            )
        ]
    return list(dict.fromkeys(found))


def open_texts(path: Path) -> sqlite3.Connection:
    """Open the file of kept texts.

    Raises:
        BadTask: there is none.
    """
    if not path.is_file():
        raise BadTask(
            f"there are no kept texts at {path}; with store_texts in the task file `raisehand "
            "serve` keeps some"
        )
    return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    make_private(path)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma secure_delete = on")
    connection.executescript(_CREATE)
    return connection


_INSERT = (
    "insert into texts (task, request_id, at, kind, propensity, recognised, sealed) "
    "values (?, ?, ?, ?, ?, ?, ?)"
)
