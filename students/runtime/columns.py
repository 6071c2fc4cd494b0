"""A column of texts as Arrow lays it out, answered without a Python object for each of them.

Nearly all texts are ASCII with a letter at either end. Those are read where they lie: lower case
and cutting are byte work. Only the others become strings, are trimmed and folded as `hashing.pack`
folds. What comes out equals, bit for bit, what `predict` says of the trimmed texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from students.labels import NO_LABEL
from students.runtime.hashing import CHARACTERS, compiled, pack
from students.runtime.linear import LinearStudent
from students.runtime.protocol import Student

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

ANSWERED_AT_ONCE = 1_024
"""Texts of one call: what they need in between stays in the cache of a core."""
_BLANK = 32
"""Every ASCII character that `str.strip` takes away is at or below it, and no letter is."""


@dataclass(frozen=True, eq=False)
class ColumnAnswers:
    """What a student says of N texts.

    Attributes:
        labels: (N,), int64; `NO_LABEL` where there is no text or the student failed.
        confidences: (N,), float32; NaN there.
        empty: (N,), rows without a text.
    """

    labels: Int64
    confidences: npt.NDArray[np.float32]
    empty: Bool


class TextColumn:
    """N texts laid end to end; a row is null, or its bytes are UTF-8.

    Args:
        column: an Arrow array of type string or large_string.
    """

    def __init__(self, column: Any) -> None:
        import pyarrow as pa

        wide = pa.types.is_large_string(column.type)
        _, offsets, data = column.buffers()
        at = slice(column.offset, column.offset + len(column) + 1)
        found = np.frombuffer(offsets, np.int64 if wide else np.int32)[at] if offsets else [0]
        self.offsets: Int64 = np.asarray(found, np.int64)
        self.data: UInt8 = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        self._null: Bool = np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)
        self._plain = np.zeros(len(column), np.bool_)
        _find_plain(self.data, self.offsets, self._plain)
        self._plain &= ~self._null

    def __len__(self) -> int:
        return int(self.offsets.size - 1)

    def text(self, row: int) -> str:
        """Return a text, trimmed as every reader of inputs trims; "" where there is none."""
        if self._null[row]:
            return ""
        start, end = self.offsets[row], self.offsets[row + 1]
        return self.data[start:end].tobytes().decode("utf-8", "surrogatepass").strip()

    def texts(self, rows: Sequence[int] | Int64) -> list[str]:
        """Return the texts of some rows."""
        return [self.text(int(row)) for row in rows]

    def packed(self, *, fold: bool) -> tuple[UInt8, Int64, Bool]:
        """Return folded bytes, N + 1 offsets as the linear student reads them, and empty rows."""
        rows = np.flatnonzero(~self._plain)
        others = self.texts(rows)
        empty = np.zeros(len(self), np.bool_)
        empty[rows] = [not text for text in others]
        other_data, other_offsets = pack(others, fold=fold)
        sizes = np.minimum(np.diff(self.offsets), CHARACTERS)
        sizes[rows] = np.diff(other_offsets)
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        out = np.empty(int(offsets[-1]), np.uint8)
        _lay(self.data, self.offsets, self._plain, other_data, other_offsets, offsets, out)
        return out, offsets, empty


def answer_column(student: Student, column: TextColumn) -> ColumnAnswers:
    """Answer every row of a column; a text that breaks the student costs no other its answer."""
    n = len(column)
    labels = np.full(n, NO_LABEL, np.int64)
    confidences = np.full(n, np.nan, np.float32)
    if isinstance(student, LinearStudent):
        data, offsets, empty = column.packed(fold=student.folds)
        for start in range(0, n, ANSWERED_AT_ONCE):
            block = slice(start, min(start + ANSWERED_AT_ONCE, n))
            _, labels[block], confidences[block] = student.answer_packed(
                data, offsets[block.start : block.stop + 1]
            )
        labels[empty], confidences[empty] = NO_LABEL, np.nan
        return ColumnAnswers(labels, confidences, empty)
    texts = column.texts(range(n))
    empty = np.array([not text for text in texts], np.bool_)
    for start in range(0, n, ANSWERED_AT_ONCE):
        rows = [i for i in range(start, min(start + ANSWERED_AT_ONCE, n)) if texts[i]]
        _answer_rows(student, texts, rows, labels, confidences)
    return ColumnAnswers(labels, confidences, empty)


def _answer_rows(
    student: Student,
    texts: Sequence[str],
    rows: Sequence[int],
    labels: Int64,
    confidences: npt.NDArray[np.float32],
) -> None:
    """Fill in some rows; where the student fails on them, on each half, until one is left."""
    if not rows:
        return
    try:
        said = student.predict([texts[i] for i in rows])
    except Exception:
        if len(rows) > 1:
            half = len(rows) // 2
            _answer_rows(student, texts, rows[:half], labels, confidences)
            _answer_rows(student, texts, rows[half:], labels, confidences)
        return
    labels[rows] = [one.label for one in said]
    confidences[rows] = [one.confidence for one in said]


@compiled()
def _find_plain(data: UInt8, offsets: Int64, plain: Bool) -> None:
    """Mark texts that are ASCII throughout and have nothing to trim at either end."""
    for t in range(plain.size):
        start, end = offsets[t], offsets[t + 1]
        seen = np.uint8(0)
        for i in range(start, end):
            seen |= data[i]
        plain[t] = end > start and seen < 128 and data[start] > _BLANK and data[end - 1] > _BLANK


@compiled()
def _lay(
    data: UInt8,
    offsets: Int64,
    plain: Bool,
    other_data: UInt8,
    other_offsets: Int64,
    ends: Int64,
    out: UInt8,
) -> None:
    """Copy plain texts in lower case, and between them the others, to where `ends` puts them."""
    other = 0
    for t in range(plain.size):
        to, size = ends[t], ends[t + 1] - ends[t]
        if plain[t]:
            start = offsets[t]
            for i in range(size):
                c = data[start + i]
                out[to + i] = c + 32 if 65 <= c <= 90 else c
        else:
            start = other_offsets[other]
            other += 1
            for i in range(size):
                out[to + i] = other_data[start + i]
