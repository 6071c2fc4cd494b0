"""How a text becomes a vector: the features that training kept, and what each weighs in a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from students.runtime import hashing
from students.runtime.bundle import Terms
from students.runtime.linear import LinearWeights
from students.train.table import MOST_TIMES, Bags, packed

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

WORD_WEIGHT = 1.5
"""A text has some ten times as many character n-grams as words, which would drown them."""


TEXTS_AT_ONCE = 1 << 12
"""Read together, so that what is computed on the way to their vectors stays small."""


@dataclass(frozen=True)
class FeatureReading:
    """Which features of a text count, and how much.

    Attributes:
        terms: `counts`: a feature counts as often as it occurs. `sublinear`: a feature that occurs
            n times counts 1 + ln n, and words and pairs weigh `WORD_WEIGHT` times as much as
            character n-grams.
        least_texts: a feature seen in fewer training texts is left out.
        shortest: characters of the shortest n-gram.
        longest: characters of the longest n-gram.
        buckets: places of the hash, a power of two.
    """

    terms: Terms = "counts"
    least_texts: int = 2
    shortest: int = 2
    longest: int = 4
    buckets: int = 1 << 18


READINGS = (
    FeatureReading(),
    FeatureReading("sublinear"),
    FeatureReading("sublinear", least_texts=1),
)
"""Those that the validation rows choose from."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The features that training kept, the most frequent first.

    Attributes:
        reading: how texts are read.
        slots: (buckets,), row of each bucket in the table, -1 where it was left out.
        weight: (rows,), inverse document frequency of each row.
        seen: (rows,), share of the training texts that have each row.
    """

    reading: FeatureReading
    slots: Int32
    weight: Float32
    seen: Float32

    @classmethod
    def of(cls, texts: Sequence[str], reading: FeatureReading) -> Vocabulary:
        """Keep the features seen in at least `least_texts` texts."""
        seen = sum((_seen(part, reading) for part in _parts(texts)), np.zeros(1, np.int64))
        kept = np.flatnonzero(seen >= reading.least_texts)
        kept = kept[np.argsort(-seen[kept], kind="stable")]
        slots = np.full(reading.buckets, -1, np.int32)
        slots[kept] = np.arange(kept.size, dtype=np.int32)
        weight = 1.0 + np.log((1 + len(texts)) / (1 + seen[kept]))
        if reading.terms == "sublinear":
            weight[_of_words(texts, reading)[kept]] *= WORD_WEIGHT
        share = seen[kept] / len(texts)
        return cls(reading, slots, weight.astype(np.float32), share.astype(np.float32))

    def bags(self, texts: Sequence[str]) -> Bags:
        """Turn texts into unit vectors over the table's rows, the bias aside.

        As in `students.runtime.hashing.logits`: counts enter the length by occurrence, sublinear
        terms by feature.
        """
        return Bags.joined(self._bags(part) for part in _parts(texts))

    def _bags(self, texts: Sequence[str]) -> Bags:
        features, offsets = _hashed(texts, self.reading)
        rows, times, ends = hashing.rows_of(features, offsets, self.slots)
        weight = self.weight[rows].astype(np.float64)
        if self.reading.terms == "sublinear":
            squares = (weight * (1.0 + np.log(times))) ** 2
        else:
            squares = weight**2 * times
        running = np.concatenate([[0.0], np.cumsum(squares)])
        length = np.sqrt(np.maximum(running[ends[1:]] - running[ends[:-1]], 1e-12))
        return Bags(
            packed(rows, times),
            (1.0 / length).astype(np.float32),
            ends,
            self.weight,
            self._terms,
        )

    @cached_property
    def _terms(self) -> Float32:
        """What n occurrences of a feature count, for n = 0 and up."""
        times = np.arange(MOST_TIMES + 1, dtype=np.float32)
        if self.reading.terms == "sublinear":
            times[1:] = 1.0 + np.log(times[1:])
        return times

    def ridge(self, texts: int, l2: float, batch_size: int) -> Float32:
        """Return how much of its weight each row (rows + 1,), the bias last, adds to its gradient.

        The loss of a batch is a mean, so the penalty is l2 / (2 n) |W|^2. A step reads only the
        rows that its batch meets: dividing by the chance of being met, 1 - (1 - seen)^batch, gives
        each row its full penalty on average.
        """
        met = 1.0 - (1.0 - self.seen.astype(np.float64)) ** batch_size
        return np.append(l2 / texts / met, 0.0).astype(np.float32)

    def weights(self, table: Float32, bias: Float32) -> LinearWeights:
        """Lay out a trained table (rows, K) and bias (K,) as they are served."""
        read = self.reading
        return LinearWeights.of(
            read.shortest, read.longest, self.slots, self.weight, table, bias, read.terms
        )


def _hashed(texts: Sequence[str], reading: FeatureReading) -> tuple[Int32, Int64]:
    data, offsets = hashing.pack(texts)
    features, ends = hashing.bag(data, offsets, reading.shortest, reading.longest, reading.buckets)
    return features, ends


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, max(1, len(texts)), TEXTS_AT_ONCE):
        yield texts[start : start + TEXTS_AT_ONCE]


def _seen(texts: Sequence[str], reading: FeatureReading) -> Int64:
    """In how many of the texts each bucket occurs, (buckets,)."""
    features, offsets = _hashed(texts, reading)
    text = np.repeat(np.arange(len(texts)), np.diff(offsets))
    once = np.unique(text * reading.buckets + features)
    return np.bincount(once % reading.buckets, minlength=reading.buckets).astype(np.int64)


def _of_words(texts: Sequence[str], reading: FeatureReading) -> npt.NDArray[np.bool_]:
    """Whether a word or a pair of words falls into each bucket, (buckets,)."""
    found = np.zeros(reading.buckets, np.bool_)
    for part in _parts(texts):
        data, offsets = hashing.pack(part)
        words, _ = hashing.bag(data, offsets, hashing.NO_GRAMS, 1, reading.buckets)
        found[words] = True
    return found
