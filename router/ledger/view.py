"""The rows of a ledger wherever they live: one host's file, or the database that has all hosts'.

Whoever asks writes one statement for both. Its rows are `{entries}` and its verdicts `{feedback}`,
with the columns of the file; values are `%s`, a remainder is `%%`, what is true is `= 1`. A moment
is compared as `{since}` and `{before}`, by which the database finds the days that are meant; the
day of a row is `{day}`.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.inputs.ledger.database import is_database
from costmodel.units import DAY_S
from router.database.connection import reading
from router.database.url import shown
from router.errors import BadLedger
from router.ledger.feedback import has_feedback
from router.ledger.rollup import folded_until
from router.ledger.schema import COLUMNS, UNKNOWN, columns_of, open_ledger

if TYPE_CHECKING:
    from psycopg import Connection

_TRUTHS = ("degraded", "audited", "estimated")
_ENTRIES = (
    "(select extract(epoch from at)::float8 as at, at as moment, "
    + ", ".join(
        f"{name}::int as {name}" if name in _TRUTHS else name for name in COLUMNS if name != "at"
    )
    + " from raisehand.decisions) as entries"
)

_OF_A_FILE = {
    "feedback": "feedback",
    "since": "at >= %s",
    "before": "at < %s",
    "day": f"cast(at / {DAY_S} as integer)",
    # The ledger is read once and each row asks for its feedback: it has no index by request id,
    # which every request would pay for. This join keeps that order.
    "join": "cross join",
}
_OF_THE_DATABASE = {
    "entries": _ENTRIES,
    "feedback": "raisehand.feedback",
    "since": "moment >= to_timestamp(%s)",
    "before": "moment < to_timestamp(%s)",
    "day": "(moment at time zone 'UTC')::date - date '1970-01-01'",
    "join": "join",
}


class LedgerView(ABC):
    """One look at a ledger: all statements see the same rows."""

    name: str
    """Of the ledger, for messages."""
    labelled = True
    """Whether rows say what student and teacher said: files of older versions do not."""
    judged = True
    """Whether there may be feedback."""
    folded_until: float = 0.0
    """Unix time before which rows may be gone, and only sums of their days are kept."""
    _words: dict[str, str]

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement of ours, written as the module says."""
        return self._run(statement.format(**self._words), values)

    def row(self, statement: str, values: Sequence[object] = ()) -> tuple[Any, ...]:
        """Return the only row of a statement that adds up."""
        [found] = self.execute(statement, values)
        return found

    @abstractmethod
    def _run(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]: ...


class _FileView(LedgerView):
    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.name = str(path)
        self._connection = connection
        connection.execute("begin")
        known = columns_of(connection)
        self.labelled = "student_label" in known
        newer = "".join(
            f", {null} as {name}" for name, null in UNKNOWN.items() if name not in known
        )
        self._words = _OF_A_FILE | {
            "entries": f"(select *{newer} from entries) as entries" if newer else "entries"
        }
        self.judged = has_feedback(connection)
        self.folded_until = folded_until(connection)

    def _run(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        words = statement.replace("%s", "?").replace("%%", "%")
        return self._connection.execute(words, values).fetchall()


class _DatabaseView(LedgerView):
    def __init__(self, url: str, connection: Connection) -> None:
        self.name = shown(url)
        self._connection = connection
        self._words = _OF_THE_DATABASE
        (until,) = self.row(
            "select extract(epoch from max(day) + 1)::float8 from raisehand.ledger_days "
            "where retired_at is not null"
        )
        self.folded_until = until or 0.0

    def _run(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()


@contextmanager
def open_view(source: str | Path) -> Iterator[LedgerView]:
    """Look at a ledger: a file, or by its address the database.

    Raises:
        BadLedger: there is no such file, or it is not a ledger.
        BadDatabase: the database cannot be used.
    """
    if not is_database(source):
        path = Path(source)
        try:
            with closing(open_ledger(path)) as connection:
                yield _FileView(path, connection)
        except sqlite3.Error as error:
            raise BadLedger(f"the ledger {path} cannot be read now ({error})") from None
        return
    url = str(source)
    with reading(url, "reader") as server, server.transaction():
        server.execute("set transaction isolation level repeatable read, read only")
        yield _DatabaseView(url, server)
