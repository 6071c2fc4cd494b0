"""What a ledger file adds up to, read also while a router writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from costmodel.units import DAY_S
from router.errors import BadLedger
from router.ledger.entry import Entry, Sums, Totals
from router.ledger.rollup import SUMS_OF_DAYS, SUMS_OF_ROWS, days_of
from router.ledger.schema import COLUMNS, UNKNOWN, columns_of, open_ledger
from router.ledger.sqlite import PICO


def read_totals(path: Path, since: float = 0.0) -> Totals:
    """Add up a ledger file, also while a router writes to it and folds its old rows.

    Raises:
        BadLedger: there is no such file, it is not a ledger, or `since` lies within a day of which
            only the sum is kept.
    """
    by_route: dict[str, Sums] = {}
    by_reason: dict[str, int] = {}
    with closing(open_ledger(path)) as connection:
        connection.execute("begin")  # one view of both tables: rows move from one to the other
        tables = [("entries", SUMS_OF_ROWS, "at >= ?", since)]
        days = days_of(connection)
        if days is not None:
            tables.append((days, SUMS_OF_DAYS, "day >= ?", _whole_day(connection, days, since)))
        for table, sums, condition, start in tables:
            rows = connection.execute(
                f"select route, reason, {sums} from {table} where {condition} "
                "group by route, reason",
                (start,),
            )
            for route, reason, n, s1, s0, t1, t0, *rest in rows:
                part = Sums(n, _usd(s1, s0), _usd(t1, t0), *rest)
                by_route[route] = by_route.get(route, Sums()) + part
                by_reason[reason] = by_reason.get(reason, 0) + n
    return Totals(by_route, by_reason)


def read_spending(path: Path, since: float) -> dict[str, Decimal]:
    """Add up what each API key's answers cost since a Unix time, by its name.

    What the teacher got for an answer of the student was an audit: the operator's, not the key's.

    Raises:
        BadLedger: there is no such file, or it is not a ledger.
    """
    asked = "case when route = 'student' then 0 else coalesce(teacher_pusd, 0) end"
    cost = f"coalesce(student_pusd, 0) + {asked}"
    with closing(open_ledger(path)) as connection:
        rows = connection.execute(
            f"select client, sum(({cost}) / 1000000), sum(({cost}) % 1000000) from entries "
            "where at >= ? and client <> '' group by client",
            (since,),
        )
        return {client: _usd(whole, rest) for client, whole, rest in rows}


def read_entries(path: Path, since: float = 0.0) -> Iterator[Entry]:
    """Yield the entries of a ledger file, the oldest first; no folded ones.

    Raises:
        BadLedger: there is no such file, or it is not a ledger.
    """
    with closing(open_ledger(path)) as connection:
        known = columns_of(connection)
        columns = ", ".join(
            name if name in known else f"{UNKNOWN[name]} {name}" for name in COLUMNS
        )
        rows = connection.execute(
            f"select {columns} from entries where at >= ? order by at, id", (since,)
        )
        for row in rows:
            values = dict(zip(Entry.__struct_fields__, row, strict=True))
            for name in ("student_usd", "teacher_usd"):
                if values[name] is not None:
                    values[name] = values[name] / PICO
            yield msgspec.convert(values, Entry, strict=False)


def _whole_day(connection: sqlite3.Connection, days: str, since: float) -> int:
    """Return the first day whose sum lies wholly after a moment."""
    day, rest = divmod(since, DAY_S)
    if not rest:
        return int(day)
    cut = connection.execute(f"select 1 from {days} where day = ? limit 1", (int(day),)).fetchone()
    if cut:
        date = datetime.fromtimestamp(day * DAY_S, UTC).date()
        raise BadLedger(
            f"of {date} only the sum of the whole day is kept; give the midnight (UTC) before or "
            "after that moment"
        )
    return int(day) + 1


def _usd(whole_micro: int, rest_pico: int) -> Decimal:
    """Join the two halves of a sum that as one 64-bit sum of pico-dollars could overflow."""
    return Decimal(whole_micro * 1_000_000 + rest_pico).scaleb(-12)
