"""THE STORY of a table: read → student → decide → ask → write → book → done, chunk by chunk.

Chunks are read and answered by the student on all cores, ahead. From there on they go one after
the other, so that what is decided (who pays for a text that comes twice, what audits have shown,
whether money is left) depends on the rows alone. Each step can be repeated to the same end: answers
are kept as they come, a part is replaced by an equal one, a chunk is booked once, and only then is
it done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from costmodel.errors import BadTable
from costmodel.money.pricing import Price
from router.batch.asking import TeacherDesk
from router.batch.booking import Bookkeeper, Books
from router.batch.deciding import Decided, Decider
from router.batch.journal import ChunkRecord, JobJournal, ruling_words
from router.batch.output import Output
from router.batch.scoring import RawChunk, ScoredChunk, ScoringEngine
from router.batch.tables.sources import Source
from router.batch.watching import JobWatch
from router.clock import Clock
from router.errors import BadSettings
from router.ledger.chunks import ChunkLedger
from router.ledger.text_hash import open_text_hash
from router.shared.records import Ruling
from students.label.cache import ReplyCache
from students.label.workers import Progress
from students.task import Task
from students.teachers.protocol import Teacher

_SHOWN_FAULTS = 5


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Where a job stands; `rows` is None where nobody knows how many there are."""

    done: int
    rows: int | None
    usd: Decimal
    asked: int
    """RowQuestions of the current chunk that are answered, of `asking`."""
    asking: int


@dataclass(frozen=True, eq=False)
class BatchJob:
    """All that a job is made of.

    Attributes:
        column: the name of the texts' column.
        at_once: rows of a chunk.
        thresholds: (K,), of the bundle's certificate.
        max_usd: what the teacher may cost in all, earlier runs of the job included.
        engine: lets the student answer.
    """

    task: Task
    source: Source
    output: Output
    journal: JobJournal
    ledger: ChunkLedger
    engine: ScoringEngine
    bundle: str
    thresholds: tuple[float, ...]
    watch: JobWatch
    teacher: Teacher
    price: Price
    student_usd: Decimal
    column: str
    at_once: int
    max_usd: Decimal | None
    rate: float
    seed: int
    cache_path: Path

    async def run(
        self,
        progress: Callable[[BatchProgress], None] | None = None,
        *,
        wall: Clock = time.time,
    ) -> None:
        """Answer every row that is not answered yet, and publish OUT.

        Raises:
            TeacherError: the teacher stays away; the same command goes on where it ended.
            BadTable: a row that cannot be read; what was answered before it is kept.
        """
        journal = self.journal
        with ReplyCache(self.cache_path, self.teacher.descriptor) as cache:
            report = _Report(self, progress)
            desk = TeacherDesk(
                self.task,
                self.teacher,
                cache,
                self.price,
                job=journal.job,
                max_usd=self.max_usd,
                seed=self.seed,
                progress=report.asking,
            )
            keeper = Bookkeeper(
                self.task,
                journal.job,
                self.bundle,
                cache,
                self.price,
                student_usd=self.student_usd,
                rate=self.rate,
                text_hash=open_text_hash(self.ledger.path.parent),
                wall=wall,
            )
            decider = Decider(
                self.task,
                self.thresholds,
                self.student_usd,
                self.watch,
                job=journal.job,
                rate=self.rate,
                seed=self.seed,
            )
            finishing: asyncio.Task[None] | None = None
            try:
                async with aclosing(self.engine.scored(self._unread())) as chunks:
                    async for chunk in chunks:
                        questions = decider.questions(chunk)
                        asked = await desk.ask(chunk.number, questions.texts)
                        decided = decider.settle(chunk, questions, asked)
                        books = keeper.books(chunk, questions, asked, decided)
                        ruling = await asyncio.to_thread(self.watch.fold, journal.job)
                        if finishing is not None:
                            await finishing
                        finishing = asyncio.create_task(
                            asyncio.to_thread(self._finish, cache, chunk, decided, books, ruling)
                        )
                        report.chunk(len(chunk), desk.spending.spent)
            finally:
                if finishing is not None:
                    await finishing
        if not journal.done:
            self.output.forget()
            raise BadTable(f"{self.source.files[0].name} has no row; there is nothing to answer")
        await asyncio.to_thread(self.output.publish, len(journal.done))

    def _unread(self) -> Iterator[RawChunk]:
        """Read all files, and give the chunks that are not done yet."""
        number = first = 0
        room = self.output.folder / "fetched"
        for at, file in enumerate(self.source.files):
            blocks = self.source.read(file, self.column, self.at_once, room)
            for place, rows in enumerate(blocks):
                done = self.journal.done
                if number >= len(done):
                    yield RawChunk(number, first, rows, at, place)
                elif done[number].rows != len(rows):
                    raise BadSettings(
                        f"{file.name} reads in other chunks than when this job began (another "
                        f"version of pyarrow?); remove {self.output.folder} and begin anew: "
                        "answers that were paid for are kept"
                    )
                number, first = number + 1, first + len(rows)

    def _finish(
        self,
        cache: ReplyCache,
        chunk: ScoredChunk,
        decided: Decided,
        books: Books,
        ruling: Ruling,
    ) -> None:
        """Write a chunk, book it, and be done with it: in this order, each durably."""
        cache.sync()
        self.output.write(chunk.number, chunk.rows, decided.columns)
        self.ledger.book(self.journal.job, chunk.number, self.task.name, books.entries, books.sums)
        self.journal.put(
            ChunkRecord(
                rows=len(chunk),
                tallies=books.tallies,
                audits=decided.audits,
                disagreements=decided.disagreements,
                lost_audits=decided.lost,
                broken_calls=books.broken_calls,
                broken_usd=books.broken_usd,
                faults=tuple(chunk.rows.faults.values())[:_SHOWN_FAULTS],
                ruling=ruling_words(ruling),
            )
        )


class _Report:
    """Turns what happens into progress."""

    def __init__(self, job: BatchJob, tell: Callable[[BatchProgress], None] | None) -> None:
        self._tell = tell
        self._rows = job.source.rows
        self._done = sum(record.rows for record in job.journal.done)
        self._usd = Decimal(0)

    def asking(self, state: Progress) -> None:
        """Labelling's progress within a chunk."""
        self._usd = state.usd
        self._say(state.done, state.total)

    def chunk(self, rows: int, usd: Decimal) -> None:
        """A chunk was answered."""
        self._done, self._usd = self._done + rows, usd
        self._say(0, 0)

    def _say(self, asked: int, asking: int) -> None:
        if self._tell is not None:
            self._tell(BatchProgress(self._done, self._rows, self._usd, asked, asking))
