"""Answers by row, in arrays: a million with 77 labels are 0.7 GB, as objects they were four."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.label.labelled import LabelledSet
from students.labels import NO_LABEL, LabelDistribution, LabelSchema, means_label

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_AT_ONCE = 1 << 14
"""Rows that are read together, so that what is computed from them stays small."""


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer as the cache gives it back; the raw reply stays on disk."""

    distribution: LabelDistribution
    usage: TokenUsage
    usd: Decimal
    estimated: bool = False
    """The teacher did not say what it consumed."""


class Answers(MutableMapping[int, CachedAnswer]):
    """What is known of `n` texts, by their row; memory is taken as rows are filled.

    Usage and cost are kept once for all answers that share them: there are few different ones.
    """

    def __init__(self, n: int) -> None:
        self._there = np.zeros(n, np.bool_)
        self._probabilities = np.empty((n, 0))
        self._other = np.zeros(n)
        self._truncated = np.zeros(n, np.bool_)
        self._refused = np.zeros(n, np.bool_)
        self._estimated = np.zeros(n, np.bool_)
        self._bill = np.zeros(n, np.int64)
        self._bills: dict[tuple[TokenUsage, Decimal], int] = {}
        self._known: list[tuple[TokenUsage, Decimal]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        for start in range(0, self._there.size, _AT_ONCE):
            yield from (start + np.flatnonzero(self._there[start : start + _AT_ONCE])).tolist()

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and 0 <= row < self._there.size and bool(self._there[row])

    def __getitem__(self, row: int) -> CachedAnswer:
        if row not in self:
            raise KeyError(row)
        usage, usd = self._known[self._bill[row]]
        return CachedAnswer(
            LabelDistribution(
                tuple(self._probabilities[row].tolist()),
                float(self._other[row]),
                bool(self._truncated[row]),
                bool(self._refused[row]),
            ),
            usage,
            usd,
            bool(self._estimated[row]),
        )

    def __setitem__(self, row: int, kept: CachedAnswer) -> None:
        self.fill([row], [kept])

    def fill(self, rows: Sequence[int], answers: Sequence[CachedAnswer]) -> None:
        """Set the answers of different rows."""
        if not rows:
            return
        said = [kept.distribution for kept in answers]
        probabilities = np.array([one.probabilities for one in said])
        if not self._probabilities.shape[1]:
            self._probabilities = np.empty((self._there.size, probabilities.shape[1]))
        at = np.asarray(rows)
        self._probabilities[at] = probabilities
        self._other[at] = [one.other for one in said]
        self._truncated[at] = [one.truncated for one in said]
        self._refused[at] = [one.refused for one in said]
        self._estimated[at] = [kept.estimated for kept in answers]
        self._bill[at] = [self._bill_code(kept.usage, kept.usd) for kept in answers]
        self._count += at.size - int(self._there[at].sum())
        self._there[at] = True

    def _bill_code(self, usage: TokenUsage, usd: Decimal) -> int:
        code = self._bills.setdefault((usage, usd), len(self._known))
        if code == len(self._known):
            self._known.append((usage, usd))
        return code

    def __delitem__(self, row: int) -> None:
        if row not in self:
            raise KeyError(row)
        self._there[row] = False
        self._count -= 1

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """Which rows have an answer, (N,)."""
        return self._there.copy()

    def labels(self) -> Int32:
        """The label that each row's answer means, (N,); `NO_LABEL` for none, or no answer."""
        found = np.full(self._there.size, NO_LABEL, np.int32)
        for rows in self._slices():
            best = self._probabilities[rows].argmax(axis=1)
            found[rows] = np.where(self._mean_label(rows), best, NO_LABEL)
        return found

    def bills(self) -> tuple[list[tuple[TokenUsage, Decimal]], Int64]:
        """The different bills there are, and the place of each answered row's in them, (N,)."""
        return self._known, self._bill

    def bill(self, row: int) -> tuple[TokenUsage, Decimal, bool]:
        """What a row's answer consumed and cost, and whether that is an estimate."""
        return (*self._known[self._bill[row]], bool(self._estimated[row]))

    @property
    def usd(self) -> Decimal:
        """What all of them cost."""
        return sum((usd * count for (_, usd), count in self._counted()), Decimal(0))

    @property
    def usage(self) -> TokenUsage:
        """What all of them consumed."""
        total = NO_USAGE
        for (one, _), count in self._counted():
            total += TokenUsage(
                one.input_tokens * count,
                one.output_tokens * count,
                one.cached_input_tokens * count,
                one.requests * count,
                one.cache_write_tokens * count,
            )
        return total

    @property
    def refused(self) -> int:
        """How many the teacher would not give."""
        return int((self._refused & self._there).sum())

    @property
    def estimated(self) -> int:
        """How many came without a word on what they consumed."""
        return int((self._estimated & self._there).sum())

    @property
    def unusable(self) -> int:
        """How many mean no label."""
        return sum(int((~self._mean_label(rows)).sum()) for rows in self._slices())

    def labelled(
        self, rows: Int64, texts: tuple[str, ...], gold: Int32, schema: LabelSchema
    ) -> LabelledSet:
        """Return the answers at `rows`, ascending; where there is none, one that means no label."""
        there = self._there[rows]
        probabilities = np.zeros((rows.size, len(schema)), np.float32)
        usable = np.zeros(rows.size, np.bool_)
        for start in range(0, rows.size, _AT_ONCE):
            place = start + np.flatnonzero(there[start : start + _AT_ONCE])
            if place.size:
                probabilities[place] = self._probabilities[rows[place]]
                usable[place] = self._mean_label(rows[place])
        return LabelledSet(
            schema,
            texts,
            probabilities,
            np.where(there, self._other[rows], 1.0).astype(np.float32),
            self._truncated[rows] & there,
            gold,
            usable,
        )

    def _counted(self) -> Iterator[tuple[tuple[TokenUsage, Decimal], int]]:
        counts = np.bincount(self._bill[self._there], minlength=len(self._known))
        return zip(self._known, counts.tolist(), strict=True)

    def _slices(self) -> Iterator[Int64]:
        for start in range(0, self._there.size, _AT_ONCE):
            rows = start + np.flatnonzero(self._there[start : start + _AT_ONCE])
            if rows.size:
                yield rows

    def _mean_label(self, rows: Int64) -> npt.NDArray[np.bool_]:
        means = means_label(self._probabilities[rows], self._other[rows])
        return means & ~self._refused[rows]
