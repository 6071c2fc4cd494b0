"""What a table will cost, said before anything is asked: the student looks at some of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from costmodel.money.pricing import Price, now
from router.batch.deciding import draws
from router.batch.scoring import RawChunk, score
from router.batch.tables.sources import Source
from router.batch.watching import JobWatch
from router.policy import keeps
from students.label.cache import ReplyCache
from students.runtime.protocol import Student
from students.task import Task
from students.teachers.bounds import BYTES_PER_TOKEN, usage_guess

LOOKED_AT = 20_000
"""Rows that are looked at, from the beginnings of at most so many files:"""
_FILES = 8


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """Of `looked_at` rows, `unsure` were not the student's to answer and `empty` have no text.

    `rows`, `questions` and `usd` are None where nobody knows how many rows there are: then a
    million are priced.
    """

    rows: int | None
    looked_at: int
    unsure: int
    empty: int
    files: int
    questions_per_row: float
    usd_per_million: Decimal
    price: str

    @property
    def questions(self) -> int | None:
        """RowQuestions to the teacher in all."""
        return None if self.rows is None else round(self.rows * self.questions_per_row)

    @property
    def usd(self) -> Decimal | None:
        """What they will cost."""
        return None if self.rows is None else self.usd_per_million * self.rows / 1_000_000

    @property
    def sentence(self) -> str:
        """The estimate for people."""
        where = "row" if self.files == 1 else f"row of {self.files} files"
        share = self.unsure / max(self.looked_at, 1)
        basis = (
            f"by {self.looked_at:,} rows from the first {where} on, {share:.1%} of them unsure; "
            f"tokens guessed at {BYTES_PER_TOKEN} bytes each"
        )
        empty = f" {self.empty:,} of these rows hold no text." if self.empty else ""
        if self.rows is None:
            return (
                f"A million rows make about {self.questions_per_row * 1e6:,.0f} questions to the "
                f"teacher: about ${self.usd_per_million:.2f} at {self.price}; {basis}.{empty}"
            )
        return (
            f"About {self.rows:,} rows make about {self.questions:,} questions to the teacher, "
            f"audits included: about ${self.usd:.2f} at {self.price}; {basis}.{empty}"
        )

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "rows": self.rows,
            "questions": self.questions,
            "usd": None if self.usd is None else f"{self.usd:.6f}",
            "usd_per_million_rows": f"{self.usd_per_million:.6f}",
            "rows_looked_at": self.looked_at,
            "unsure": self.unsure,
            "no_text": self.empty,
            "price": self.price,
        }


def estimate_batch(
    task: Task,
    source: Source,
    student: Student,
    thresholds: tuple[float, ...],
    cache: ReplyCache,
    price: Price,
    *,
    column: str,
    rate: float,
    seed: int,
    watch: JobWatch,
    room: Path,
) -> BatchEstimate:
    """Let the student answer some rows, and price what it would ask about.

    Texts that the teacher answered before cost nothing again.
    """
    step = max(1, len(source.files) // _FILES)
    files = source.files[::step][:_FILES]
    looked = unsure = empty = asked = 0
    usd, thresholds = Decimal(0), watch.raised(thresholds)
    guess = usage_guess(task)
    for file in files:
        rows = next(source.read(file, column, LOOKED_AT // len(files), room), None)
        if rows is None:
            continue
        chunk = score(student, RawChunk(0, 0, rows))
        said = chunk.said
        kept = keeps(said.labels, said.confidences, thresholds) & (not watch.alarmed)
        wanted = ~said.empty & ~kept
        drawn = draws(0, len(chunk), rate, seed) & kept
        texts = list(dict.fromkeys(chunk.column.texts(np.flatnonzero(wanted | drawn))))
        known, _ = cache.find(texts)
        fresh = [text for i, text in enumerate(texts) if i not in known]
        asked += len(fresh)
        usd += sum((price.cost(guess([text]), now()).usd for text in fresh), Decimal(0))
        looked, unsure = looked + len(chunk), unsure + int(wanted.sum())
        empty += int(said.empty.sum())
    each = max(looked, 1)
    return BatchEstimate(
        source.rows,
        looked,
        unsure,
        empty,
        len(files),
        asked / each,
        usd * 1_000_000 / each,
        price.words,
    )
