"""What a ledger's file has that the database has not: read in batches, as COPY takes it.

SQLite builds the text of a whole batch, without the interpreter's lock: 2.3 µs a row. A Python
object for each value would take that time from the requests. Numbers are printed as integers with
an exponent, and times as the Julian day and its fraction: floats and dates cost SQLite half as much
again, the clock of a day a sixth.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from costmodel.units import DAY_S
from router.ledger.schema import COLUMNS, open_file

BATCH_ROWS = 10_000
HOUR_S = 3_600
_INTEGERS = (
    "input_tokens", "output_tokens", "attempts", "degraded", "audited", "cached_input_tokens",
    "estimated",
)  # fmt: skip
_MAY_BE_NULL = ("label", "student_label", "teacher_label")
_ONLY_OURS = ("surface", "route", "reason", "text_sha256")
"""Words of this program, which hold nothing that is to be quoted."""
_DIGITS = {"confidence": 15, "propensity": 15, "latency_ms": 6}
"""Places after the point that are kept."""
_DAY = f"cast(at / {DAY_S} as integer)"
_OF_DAY = f"min(9999999999999, cast((at - {_DAY} * {DAY_S}) * (1e13 / {DAY_S}) + 57.9 as integer))"
"""Of a day, in 1e-13: 115.7 a microsecond, and half of one, as PostgreSQL drops what is less. A
moment that is whole microseconds is off by .12 in a double at most."""
_JULIAN = 2_440_588
"""The Julian day of 1 January 1970."""
KEY = ("hour", "task", "bundle", "route", "reason", "client")
SUMS = {
    "first_at": "min(at)",
    "last_at": "max(at)",
    "student_musd": "coalesce(sum(student_pusd / 1000000), 0)",
    "student_rest": "coalesce(sum(student_pusd % 1000000), 0)",
    "teacher_musd": "coalesce(sum(teacher_pusd / 1000000), 0)",
    "teacher_rest": "coalesce(sum(teacher_pusd % 1000000), 0)",
    "requests": "count(*)",
    "asked": "sum(attempts > 0)",
    "attempts": "sum(attempts)",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "cached_input_tokens": "sum(cached_input_tokens)",
    "measured_attempts": "sum(case when input_tokens > 0 then attempts else 0 end)",
    "degraded": "sum(degraded)",
    "audited": "sum(audited)",
    "unpriced": "sum(student_pusd is null or teacher_pusd is null)",
    "estimated": "sum(estimated)",
}
"""What the database keeps of an hour, and how SQLite adds up rows that came too late to be kept."""


@dataclass(frozen=True, slots=True)
class Unshipped:
    """What the database has not got yet."""

    rows: int = 0
    oldest_at: float | None = None
    """When the first of them was booked, Unix time; None where there are none."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows `after` < row <= `last`, in the order they were written."""

    after: int
    last: int
    request_id: str
    """Of the last row: by it a file is told from a copy of it that went another way."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows as COPY takes them."""

    rows: int
    text: bytes
    days: tuple[int, ...]
    """UTC days in it, since 1970."""


class Spool:
    """A ledger's file, looked at by the one that ships it; a context manager."""

    def __init__(self, path: Path) -> None:
        self._connection = open_file(path)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    @property
    def id(self) -> str:
        """What this file is called in the database, made with it."""
        return str(self._connection.execute("select id from spool").fetchone()[0])

    def unshipped(self) -> Unshipped:
        """What waits, as far as this file knows: a batch may have arrived unnoticed."""
        last, shipped = self._connection.execute(
            "select (select max(id) from entries), shipped from spool"
        ).fetchone()
        if last is None or last <= shipped:
            return Unshipped()
        (at,) = self._connection.execute(
            "select at from entries where id > ? order by id limit 1", (shipped,)
        ).fetchone()
        return Unshipped(last - shipped, at)

    def request_at(self, row: int) -> str | None:
        """Return whose request a row is; None where there is no such row (any more)."""
        found = self._connection.execute(
            "select request_id from entries where id = ?", (row,)
        ).fetchone()
        return None if found is None else str(found[0])

    def newest(self) -> int:
        """Return the last row that was ever written, 0 without any: the newest is never folded."""
        return int(self._connection.execute("select max(id) from entries").fetchone()[0] or 0)

    def next(self, after: int, rows: int = BATCH_ROWS) -> Batch | None:
        """Return the next batch; None when there are no more rows.

        Its ends are looked up, not counted: where rows are missing it has fewer.
        """
        (last,) = self._connection.execute(
            "select max(id) from entries where id < (select min(id) from entries where id > ?) + ?",
            (after, rows),
        ).fetchone()
        return None if last is None else Batch(after, last, self.request_at(last) or "")

    def lines(self, batch: Batch, instance: int, without: Collection[int] = ()) -> Lines:
        """Return the lines of a batch, those of some days left out.

        Texts end at a NUL, which PostgreSQL has not: what a teacher calls itself may hold one.
        """
        left_out = f"and {_DAY} not in ({_numbers(without)})" if without else ""
        count, text, first, last = self._connection.execute(
            "select count(*), cast(group_concat(line, char(10)) as blob), min(at), max(at) from ("
            f"select at, {_LINE} as line from entries "
            f"where id > ? and id <= ? {left_out} order by id)",
            (instance, batch.after, batch.last),
        ).fetchone()
        if not count:
            return Lines(0, b"", ())
        days = tuple(range(int(first / DAY_S), int(last / DAY_S) + 1))
        return Lines(count, bytes(text) + b"\n", days if len(days) < 3 else self._days(batch))

    def _days(self, batch: Batch) -> tuple[int, ...]:
        """Return the UTC days of a batch whose clock went far: it need not have all between."""
        found = self._connection.execute(
            f"select distinct {_DAY} from entries where id > ? and id <= ?",
            (batch.after, batch.last),
        )
        return tuple(day for (day,) in found)

    def sums(self, batch: Batch, days: Collection[int]) -> list[Sequence[object]]:
        """Add some days of a batch up by the hour: the `KEY` and the `SUMS` of each group."""
        return self._connection.execute(
            f"select cast(at / {HOUR_S} as integer), {', '.join(KEY[1:])}, "
            f"{', '.join(SUMS.values())} from entries where id > ? and id <= ? "
            f"and {_DAY} in ({_numbers(days)}) group by 1, 2, 3, 4, 5, 6",
            (batch.after, batch.last),
        ).fetchall()

    def shipped(self, row: int) -> None:
        """Note how far the database is: what it has may be folded."""
        self._connection.execute("update spool set shipped = ? where shipped <> ?", (row, row))


def _field(column: str) -> tuple[str, tuple[str, ...]]:
    """Return how printf writes a value in a line of CSV, and what it is given; NULL is empty."""
    if column == "at":
        return "J%d.%013d", (f"{_DAY} + {_JULIAN}", _OF_DAY)
    if column in _INTEGERS:
        return "%d", (column,)
    if column in _DIGITS:
        digits = _DIGITS[column]
        scaled = f"cast({column} * 1e{digits} + 0.5 as integer)"
        if column != "confidence":
            return f"%de-{digits}", (scaled,)
        return "%s", (f"coalesce({scaled} || 'e-{digits}', '')",)
    if column in ("student_pusd", "teacher_pusd"):
        return "%s", (f"coalesce({column}, '')",)
    if column in _MAY_BE_NULL:
        quote = f"""case when {column} is null then '' else '"' end"""
        return "%s%w%s", (quote, f"coalesce({column}, '')", quote)
    return ('"%s"' if column in _ONLY_OURS else '"%w"'), (column,)  # as CSV quotes


def _line() -> str:
    fields = [("%d", ("?",)), ("%d", ("id",)), *map(_field, COLUMNS)]
    text = ",".join(form for form, _ in fields)
    return f"printf('{text}', {', '.join(value for _, given in fields for value in given)})"


def _numbers(values: Collection[int]) -> str:
    return ", ".join(str(int(value)) for value in values)


_LINE = _line()
COPIED = ("instance", "row", *COLUMNS)
"""The columns of a line."""
