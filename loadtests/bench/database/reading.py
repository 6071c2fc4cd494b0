"""A database with a ledger of many rows, and how long those take who read it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from costmodel.units import DAY_S
from router.database.connection import connect
from router.ledger.shipping.days import make_days, today

if TYPE_CHECKING:
    from psycopg import Connection

DAYS = 2
"""Over which the rows of the reading lie."""
_ROWS = """
insert into raisehand.decisions
select 1 + i %% 4, i, %(start)s + i::bigint * %(step)s * interval '1 microsecond', 'r' || i,
       'intents', 'benchmark00', 'chat', case when i %% 10 = 0 then 'teacher' else 'student' end,
       case when i %% 10 = 0 then 'low_confidence' else 'confident' end,
       'intent_' || i %% 77, 0.9, 13889, case when i %% 10 = 0 then 123000000 else 0 end,
       case when i %% 10 = 0 then 30 + i %% 200 else 0 end, (i %% 10 = 0)::int * 2,
       (i %% 10 = 0)::int, 1.5, false, i %% 100 = 1, 0.01,
       md5(i::text) || md5((i + 1)::text), 'team-' || i %% 20, 0, false, '', null, null
from generate_series(%(first)s::bigint, %(last)s::bigint) as i
"""
_SUMS = """
insert into raisehand.ledger_sums
select date_trunc('hour', at, 'UTC'), instance, task, bundle, route, reason, client, min(at),
       max(at), sum(student_pusd), sum(teacher_pusd), count(*),
       count(*) filter (where attempts > 0),
       sum(attempts), sum(input_tokens), sum(output_tokens), sum(cached_input_tokens),
       coalesce(sum(attempts) filter (where input_tokens > 0), 0), sum(degraded::int),
       sum(audited::int), 0, 0
from raisehand.decisions group by 1, 2, 3, 4, 5, 6, 7
"""


def measure_reading(url: str, rows: int) -> dict[str, Any]:
    """Fill a database that has tables, and time who reads it.

    Args:
        url: its address.
        rows: how many.
    """
    from costmodel.inputs.ledger.traffic import read_traffic
    from router.ledger.merged import totals_of

    with closing(connect(url, "bench")) as connection:
        _fill(connection, rows)
        sizes = connection.execute(
            "select sum(pg_total_relation_size(inhrelid)) / %s, "
            "pg_total_relation_size('raisehand.ledger_sums') from pg_inherits "
            "where inhparent = 'raisehand.decisions'::regclass",
            (rows,),
        ).fetchone()
    ledger = [sys.executable, "-c", "from router.cli import run; run()", "ledger"]
    environment = os.environ | {"RAISEHAND_DATABASE_URL": url}
    return {
        "rows": rows,
        "bytes_a_row": round(float((sizes or (0, 0))[0])),
        "bytes_of_sums": int((sizes or (0, 0))[1]),
        "command_s": _seconds(
            lambda: subprocess.run(ledger, env=environment, check=True, capture_output=True)
        ),
        "ledger_s": _seconds(lambda: totals_of(url)),
        "whatif_from_ledger_s": _seconds(lambda: read_traffic(url, "intents")),
    }


def _fill(connection: Connection, rows: int) -> None:
    """Make rows of the last days, and their sums."""
    first = today() - timedelta(days=DAYS)
    make_days(connection, [first + timedelta(days=day) for day in range(DAYS + 1)])
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    step = DAYS * DAY_S * 1_000_000 // rows
    for begin in range(0, rows, 1_000_000):
        connection.execute(
            _ROWS,
            {
                "start": start,
                "step": step,
                "first": begin,
                "last": min(begin + 1_000_000, rows) - 1,
            },
        )
    connection.execute(_SUMS)
    for after in ("vacuum analyze raisehand.decisions", "checkpoint"):  # it is what time does
        connection.execute(after)


def _seconds(act: Callable[[], object]) -> list[float]:
    """Time it three times."""
    found = []
    for _ in range(3):
        started = time.perf_counter()
        act()
        found.append(round(time.perf_counter() - started, 2))
    return found


def reading_words(reading: Mapping[str, Any]) -> list[str]:
    """Say what `measure_reading` found."""
    return [
        f"{reading['rows']:,} rows of {reading['bytes_a_row']} bytes: `raisehand ledger` "
        f"{reading['command_s']} s, of which it reads {reading['ledger_s']}; what "
        f"`whatif --from-ledger` reads {reading['whatif_from_ledger_s']} s"
    ]
