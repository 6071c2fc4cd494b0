"""Makes the document of the page in a process of its own, behind everything else that runs.

Sums over a ledger, intervals and bundles take milliseconds to seconds of a processor. In a process
that answers requests they were felt: whoever looked at the page made the p99 half as much again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from costmodel.companion import Companion, CompanionEnded
from router.errors import Unavailable
from router.process.board.books import BookKeeper
from router.process.board.document import document_of
from router.process.board.promise import AuditIntervals
from router.process.board.pulse import Pulse
from router.process.board.rates import RecentRates
from router.shared.opening import stores_of
from router.telemetry.logs import configure_logs
from students.task import Task

NICE = 19
"""It gets what is left over."""


class PageFiles(NamedTuple):
    """Where what the page shows is kept."""

    tasks: Sequence[Task]
    ledger: str | Path | None
    """A file, or the address of the database that has all hosts'; None: no money is shown."""
    database: str | None
    """Address of what the workers of all hosts share; None: a file in each task's work_dir."""

    def open(self) -> BookKeeper:
        """Return who reads them."""
        return BookKeeper(self.tasks, self.ledger, stores_of(self.tasks, self.database))


class PageMaker:
    """Makes one document after the other; blocking.

    Args:
        books: what is read beside the workers' pulses.
    """

    def __init__(self, books: BookKeeper) -> None:
        self._books = books
        self._rates = RecentRates()
        self._intervals = AuditIntervals()

    def make(self, pulses: Sequence[Pulse | None]) -> bytes:
        """Return the document, as JSON, of what the workers say now."""
        tallies = [None if pulse is None else pulse.tally for pulse in pulses]
        self._rates.add(time.monotonic(), tallies)
        books = self._books.read()
        return msgspec.json.encode(
            document_of(pulses, books, self._rates, self._intervals, time.time())
        )


class MakerProcess:
    """The process: started when the document is wanted for the first time, and again if it ends.

    It is kept until `close`, for it has added up the ledger.

    Args:
        files: what it reads.
    """

    def __init__(self, files: PageFiles) -> None:
        self._turn = asyncio.Lock()
        self._companion = Companion[bytes, bytes]("page", partial(_maker, files), NICE)

    @property
    def process_id(self) -> int | None:
        """The process; None while there is none."""
        return self._companion.process_id

    async def make(self, pulses: Sequence[Pulse | None]) -> bytes:
        """Return the document of what the workers say now.

        Raises:
            Unavailable: the process ends before it has made it.
        """
        async with self._turn:
            try:
                return await asyncio.to_thread(self._companion.ask, msgspec.json.encode(pulses))
            except CompanionEnded:
                raise Unavailable("What makes the page has ended; it is started again.") from None

    def close(self) -> None:
        """End the process, whatever it does."""
        self._companion.close()


def _maker(files: PageFiles) -> Callable[[bytes], bytes]:
    """Return what answers pulses with documents; called in the process."""
    configure_logs(())
    decoder = msgspec.json.Decoder(list[Pulse | None])
    maker = PageMaker(files.open())
    return lambda pulses: maker.make(decoder.decode(pulses))
