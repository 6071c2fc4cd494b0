"""The ledgers of all hosts in PostgreSQL: the few sums that a projection needs, of one task.

They come from the sums by the hour; only the lengths of calls are drawn from the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from costmodel.errors import BadProjection
from costmodel.extras import require

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMES = ("postgresql://", "postgres://")
DRAWN = 50_000
"""Calls whose lengths are looked at, about: quantiles of a fifth of a percent need no more."""
OTHERS = "('passthrough', 'student_only', 'teacher_check')"
"""Reasons of rows that are no requests which student and teacher share."""
_OF = f"where (%(task)s::text is null or task = %(task)s) and reason not in {OTHERS}"
_ASKED = ("attempts", "input_tokens", "output_tokens", "cached_input_tokens")
_AUDITS = ("audited", "measured_attempts", "input_tokens", "output_tokens", "cached_input_tokens")
_SUMS = f"""
select sum(requests), extract(epoch from min(first_at))::float8,
       extract(epoch from max(last_at))::float8,
       sum(asked) filter (where route <> 'student'),
       sum(requests - asked) filter (where route <> 'student'),
       {", ".join(f"sum({name}) filter (where route <> 'student')" for name in _ASKED)},
       {", ".join(f"sum({name}) filter (where route = 'student')" for name in _AUDITS)}
from raisehand.ledger_sums {_OF}
"""
_BUSIEST = f"""
select max(n) from (select sum(requests) n from raisehand.ledger_sums {_OF} group by hour) hours
"""
_LENGTHS = f"""
select input_tokens::float8 / attempts
from raisehand.decisions tablesample system (%(percent)s) repeatable (1)
{_OF} and attempts > 0 and input_tokens > 0
"""
_WITH_ROWS = f"select sum(asked) from raisehand.ledger_sums {_OF} and instance <> 0"
_PAID = f"""
select coalesce(sum(teacher_pusd) filter (where route <> 'student'), 0)::float8,
       coalesce(sum(teacher_pusd) filter (where route = 'student'), 0)::float8,
       coalesce(sum(student_pusd), 0)::float8,
       coalesce(sum(unpriced), 0)::float8
from raisehand.ledger_sums {_OF}
"""


def is_database(source: object) -> bool:
    """Tell whether a ledger is named by the address of a database."""
    return str(source).startswith(SCHEMES)


def read_sums(url: str, task: str | None) -> tuple[list[float], float, list[tuple[float]]]:
    """Return what the requests of a task (None: all) add up to, the busiest hour, tokens of calls.

    Raises:
        BadProjection: the database cannot be used, or has no such ledger.
    """
    with _open(url) as connection:
        asked = {"task": task}
        sums = connection.execute(_SUMS, asked).fetchone() or ()
        busiest = connection.execute(_BUSIEST, asked).fetchone() or (0,)
        calls = connection.execute(_WITH_ROWS, asked).fetchone() or (0,)
        percent = min(100.0, 100.0 * DRAWN / float(calls[0] or 1))
        lengths = connection.execute(_LENGTHS, asked | {"percent": percent}).fetchall()
    return [float(value or 0) for value in sums], float(busiest[0] or 0), lengths


def read_paid(url: str, task: str | None) -> tuple[float, ...]:
    """Return pico-dollars of escalations, audits and the student, and how many had no price.

    Raises:
        BadProjection: the database cannot be used, or has no such ledger.
    """
    with _open(url) as connection:
        found = connection.execute(_PAID, {"task": task}).fetchone()
    return tuple(float(value) for value in found or ())


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    require("postgres")
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=5, prepare_threshold=None) as connection:
            yield connection
    except psycopg.errors.UndefinedTable:
        raise BadProjection(
            "the database holds no ledger; run `raisehand database migrate` and set "
            "RAISEHAND_DATABASE_URL for `raisehand serve`"
        ) from None
    except psycopg.Error as error:
        fault = str(error).strip().splitlines() or [type(error).__name__]
        raise BadProjection(f"the ledger's database cannot be used: {fault[0]}") from None
