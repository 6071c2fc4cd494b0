"""The student's part: chunks are read and answered on every core, and come in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from router.batch.tables.chunk import RowsRead
from students.runtime.columns import ColumnAnswers, TextColumn, answer_column
from students.runtime.protocol import Student

AHEAD = 2
"""Chunks that are read beyond those being answered, so that no core waits."""


@dataclass(frozen=True, eq=False)
class RawChunk:
    """Rows of one file as they were read.

    Attributes:
        number, first: of the chunk, and of its first row, in the input.
        file, place: of the file in the input, and of the chunk in the file.
    """

    number: int
    first: int
    rows: RowsRead
    file: int = 0
    place: int = 0


@dataclass(frozen=True, eq=False)
class ScoredChunk:
    """The same with what the student says of each row."""

    number: int
    first: int
    rows: RowsRead
    column: TextColumn
    said: ColumnAnswers

    def __len__(self) -> int:
        return len(self.rows)


class ScoringEngine(Protocol):
    """Whatever lets a student answer chunks."""

    @property
    def words(self) -> str:
        """Where the student works, for people."""
        ...

    def scored(self, unread: Iterator[RawChunk]) -> AsyncGenerator[ScoredChunk]:
        """Yield each chunk, in order, with what the student says of its rows."""
        ...


@dataclass(frozen=True, eq=False)
class LocalEngine:
    """The student on so many threads of this process."""

    student: Student
    threads: int

    @property
    def words(self) -> str:
        """Where the student works, for people."""
        return f"the student on {self.threads} thread{'s' * (self.threads != 1)}"

    def scored(self, unread: Iterator[RawChunk]) -> AsyncGenerator[ScoredChunk]:
        """Answer ahead of whoever takes the chunks."""
        return scored_ahead(unread, self.student, self.threads)


def score(student: Student, raw: RawChunk) -> ScoredChunk:
    """Let the student answer every row of a chunk."""
    column = TextColumn(raw.rows.texts)
    return ScoredChunk(raw.number, raw.first, raw.rows, column, answer_column(student, column))


async def scored_ahead(
    chunks: Iterator[RawChunk], student: Student, threads: int
) -> AsyncGenerator[ScoredChunk]:
    """Yield chunks in order, answered by so many threads ahead of whoever takes them.

    Threads and not processes: reading Parquet, hashing and a forward pass all release the GIL, and
    a student and its rows lie in memory once. At most `threads` + `AHEAD` chunks do.
    """
    loop = asyncio.get_running_loop()
    waiting: deque[asyncio.Future[ScoredChunk]] = deque()
    with (
        ThreadPoolExecutor(1, "reading") as reader,
        ThreadPoolExecutor(threads, "student") as pool,
    ):
        try:
            more = True
            while more or waiting:
                while more and len(waiting) < threads + AHEAD:
                    raw = await loop.run_in_executor(reader, next, chunks, None)
                    more = raw is not None
                    if raw is not None:
                        waiting.append(loop.run_in_executor(pool, partial(score, student, raw)))
                if waiting:
                    yield await waiting.popleft()
        finally:
            for left in waiting:
                left.cancel()
