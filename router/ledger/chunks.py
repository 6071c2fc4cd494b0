"""Rows of a table in the ledger: a chunk is booked whole and once, however often it is tried.

What the teacher was asked about has an entry of its own, as a request has. What the student
answered alone is kept as sums of the chunk: ten million entries would make a file of some three
gigabytes that says less than the answered table.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from costmodel.units import DAY_S
from router.ledger.entry import Entry, Sums
from router.ledger.rollup import add_table_sums
from router.ledger.schema import open_file, prepare
from router.ledger.sqlite import PICO, insert
from router.policy import Reason, Route

_CREATE = """
create table if not exists chunks (
    job text not null, chunk integer not null, primary key (job, chunk)
) without rowid
"""
_BUSY_S = 30.0
"""A router that writes to the same file is waited for."""


class ChunkLedger:
    """Books chunks of jobs into a ledger file.

    Raises:
        BadLedger: the file cannot be opened, is no ledger, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        prepare(path, open_file)
        with closing(open_file(path)) as connection:
            connection.execute(_CREATE)

    def book(
        self,
        job: str,
        chunk: int,
        task: str,
        entries: Sequence[Entry],
        sums: Mapping[tuple[Route, Reason], Sums],
    ) -> bool:
        """Book a chunk on this day; False where it was booked before, by a run that was killed."""
        day = int(time.time()) // DAY_S
        with closing(open_file(self.path)) as connection:
            connection.execute(f"pragma busy_timeout = {int(_BUSY_S * 1000)}")
            connection.execute("pragma synchronous = full")
            connection.execute("begin immediate")
            try:
                known = connection.execute(
                    "insert or ignore into chunks values (?, ?)", (job, chunk)
                )
                if known.rowcount:
                    insert(connection, entries)
                    for (route, reason), one in sums.items():
                        key = (day, task, route.value, reason.value)
                        add_table_sums(connection, key, _in_pico(one))
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
        return bool(known.rowcount)


def _in_pico(sums: Sums) -> tuple[int, ...]:
    return (
        sums.requests,
        *_halves(sums.student_usd),
        *_halves(sums.teacher_usd),
        sums.input_tokens,
        sums.output_tokens,
        sums.attempts,
        sums.degraded,
        sums.audited,
        sums.unpriced,
        sums.estimated,
    )


def _halves(usd: Decimal) -> tuple[int, int]:
    return divmod(round(usd * PICO), 1_000_000)
