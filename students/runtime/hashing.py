"""Hashed n-grams of a text: the same compiled code makes training features and serves.

A text is cut at `CHARACTERS` characters, folded (`folded`) and read as UTF-8. A word is a run of
ASCII letters, digits and non-ASCII bytes. Its features are the word, the pair with the word before
it, and its character n-grams (characters, not bytes) with one space on each side. Each is hashed
(FNV-1a, then a finaliser, so that low bits are good) into one of `buckets` buckets.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

CHARACTERS = 16_384
"""A longer text is judged by its beginning, so that no text can stall the others."""

NO_GRAMS = CHARACTERS + 3
"""As `shortest`, beside a `longest` of 1: words and pairs alone."""

_PLAIN = (
    {ord(c): "'" for c in "‘’‚‛"} | {ord(c): '"' for c in "“”„‟"} | {ord(c): "-" for c in "‐‒–—−"}
)

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: object) -> Callable[[F], F]:
    """Compile a kernel that releases the GIL, once a machine: it is cached on disk."""
    return cast("Callable[[F], F]", njit(nogil=True, cache=True, **options))


_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_WORD = np.uint64(0xA24BAED4963EE407)
_SPACE = np.uint64(32)
_FLOATS = {"fastmath": {"contract", "reassoc", "nsz"}}
"""What lets the compiler use SIMD; equal input still gives equal bits."""


def folded(text: str) -> str:
    """Write alike what reads alike: case, full width, ligatures, composed marks, quotes, dashes."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_PLAIN)
    return text.lower()


def pack(texts: Sequence[str], *, fold: bool = True) -> tuple[UInt8, Int64]:
    """Lay texts end to end: bytes and N + 1 offsets. Lone surrogates and NULs are just bytes.

    `fold` False changes the case only, as students of older releases read.
    """
    spell = folded if fold else str.lower
    encoded = [spell(t[:CHARACTERS]).encode("utf-8", "surrogatepass") for t in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    total = 0
    for i, e in enumerate(encoded, 1):
        total += len(e)
        offsets[i] = total
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


@compiled(inline="always")
def _finish(h: np.uint64, mask: np.uint64) -> np.int32:
    h ^= h >> np.uint64(32)
    h *= _MIX
    return np.int32((h >> np.uint64(29)) & mask)


@compiled()
def capacity(size: int, shortest: int, longest: int) -> int:
    """Most features that `size` bytes can have."""
    return (2 * size + 2) * max(0, longest - shortest + 1) + size + 2


@compiled()
def text_features(
    data: UInt8, start: int, end: int, shortest: int, longest: int, buckets: int, out: Int32
) -> int:
    """Write the buckets of the features of data[start:end] to `out`; return how many."""
    mask = np.uint64(buckets - 1)
    n = 0
    before = np.uint64(0)
    i = start
    while i < end:
        if not _is_word(data[i]):
            i += 1
            continue
        j = i
        h = _OFFSET
        while j < end and _is_word(data[j]):
            h = (h ^ np.uint64(data[j])) * _PRIME
            j += 1
        word = h ^ _WORD
        out[n] = _finish(word, mask)
        n += 1
        if before != np.uint64(0):
            out[n] = _finish((before * _PRIME) ^ word, mask)
            n += 1
        before = word
        n = _word_grams(data, i, j, shortest, longest, mask, out, n)
        i = j
    return n


@compiled()
def _word_grams(
    data: UInt8, i: int, j: int, shortest: int, longest: int, mask: np.uint64, out: Int32, n: int
) -> int:
    """Append the n-grams of the word data[i:j]; positions i - 1 and j stand for spaces."""
    for s in range(i - 1, j):
        if s >= i and (data[s] & 0xC0) == 0x80:
            continue  # in the middle of a character
        h = _OFFSET
        length = 0
        e = s
        while e <= j:
            h = (h ^ (_SPACE if e < i or e == j else np.uint64(data[e]))) * _PRIME
            e += 1
            if i < e < j and (data[e] & 0xC0) == 0x80:
                continue
            length += 1
            if length >= shortest:
                out[n] = _finish(h, mask)
                n += 1
            if length == longest:
                break
    return n


@compiled(inline="always")
def _is_word(c: np.uint8) -> bool:
    return bool((97 <= c <= 122) or c >= 128 or (48 <= c <= 57))


@compiled()
def bag(
    data: UInt8, offsets: Int64, shortest: int, longest: int, buckets: int
) -> tuple[Int32, Int64]:
    """Features of every text end to end, and N + 1 offsets into them: what training reads."""
    n = offsets.size - 1
    room = 0
    for t in range(n):
        room = max(room, capacity(offsets[t + 1] - offsets[t], shortest, longest))
    scratch = np.empty(room, np.int32)
    ends = np.zeros(n + 1, np.int64)
    for t in range(n):
        ends[t + 1] = ends[t] + text_features(
            data, offsets[t], offsets[t + 1], shortest, longest, buckets, scratch
        )
    features = np.empty(ends[n], np.int32)
    for t in range(n):
        text_features(
            data, offsets[t], offsets[t + 1], shortest, longest, buckets, features[ends[t] :]
        )
    return features, ends


@compiled(**_FLOATS)
def logits(
    data: UInt8,
    offsets: Int64,
    shortest: int,
    longest: int,
    slots: Int32,
    rows: Float32,
    bias: Float32,
    sublinear: bool,
    out: Float32,
) -> None:
    """Write the logits (N, K) of N texts to `out`; each text is computed on its own.

    Args:
        data: the packed texts.
        offsets: N + 1 offsets into `data`.
        shortest: characters of the shortest n-gram.
        longest: characters of the longest n-gram.
        slots: (buckets,), row of each bucket, -1 for a bucket that training left out.
        rows: (rows, stride >= K + 1); column K is the squared weight of the feature, whose sum
            under a root is the length of the text's vector.
        bias: (K,).
        sublinear: whether a feature that occurs n times counts 1 + ln n instead of n, in the length
            as well.
        out: (N, K).
    """
    n, k = out.shape
    stride = rows.shape[1]
    room = 0
    for t in range(n):
        room = max(room, capacity(offsets[t + 1] - offsets[t], shortest, longest))
    features = np.empty(room, np.int32)
    times = np.empty(room if sublinear else 0, np.int32)
    places = np.empty(_places(room) if sublinear else 0, np.int32)
    total = np.empty(stride, np.float32)
    for t in range(n):
        found = text_features(
            data, offsets[t], offsets[t + 1], shortest, longest, slots.size, features
        )
        if sublinear:
            found = _distinct(features, found, slots, times, places)
            length = _add_terms(features[:found], times, rows, total, k)
        else:
            length = _add_counts(features[:found], slots, rows, total, k)
        scale = np.float32(1.0) / np.sqrt(length) if length > 0 else np.float32(0.0)
        for c in range(k):
            out[t, c] = total[c] * scale + bias[c]


@compiled(**_FLOATS)
def _add_counts(features: Int32, slots: Int32, rows: Float32, total: Float32, k: int) -> np.float32:
    """Add up the rows of all occurrences; return the squared length of the text's vector."""
    total[:] = 0.0
    for feature in features:
        row = slots[feature]
        if row >= 0:
            for c in range(total.size):
                total[c] += rows[row, c]
    return np.float32(total[k])


@compiled(**_FLOATS)
def _add_terms(features: Int32, times: Int32, rows: Float32, total: Float32, k: int) -> np.float32:
    """Add up each row, 1 + ln n times if it occurs n times; return the squared length."""
    total[:] = 0.0
    length = np.float32(0.0)
    for f, row in enumerate(features):
        often = np.float32(1.0)
        if times[f] > 1:
            often += np.float32(np.log(np.float32(times[f])))
        for c in range(total.size):
            total[c] += often * rows[row, c]
        length += often * often * rows[row, k]
    return np.float32(length)


@compiled()
def rows_of(features: Int32, offsets: Int64, slots: Int32) -> tuple[Int32, Int32, Int64]:
    """Return what `bag` found as rows, each once in a text, how often it occurs, N + 1 ends.

    `features` is spent. `slots` is as for `logits`.
    """
    n, room = offsets.size - 1, 0
    for t in range(n):
        room = max(room, offsets[t + 1] - offsets[t])
    times, places = np.empty(features.size, np.int32), np.empty(_places(room), np.int32)
    ends = np.zeros(n + 1, np.int64)
    for t in range(n):
        start, end = offsets[t], offsets[t + 1]
        mine = features[start:end]
        found = _distinct(mine, mine.size, slots, times[start:end], places)
        ends[t + 1] = ends[t] + found
        for f in range(found):  # to the left: what is overwritten has been read
            features[ends[t] + f] = mine[f]
            times[ends[t] + f] = times[start + f]
    return features[: ends[n]], times[: ends[n]], ends


@compiled(inline="always")
def _places(features: int) -> int:
    """Return a power of two with room for so many features, at least half of it free."""
    size = 1
    while size < 2 * features:
        size *= 2
    return size


@compiled()
def _distinct(features: Int32, found: int, slots: Int32, times: Int32, places: Int32) -> int:
    """Replace a text's features by the rows that training kept, each once; return how many.

    `times` gets how often each occurs; `places` is scratch, a hash table with open addressing.
    """
    mask = _places(found) - 1
    places[: mask + 1] = -1
    n = 0
    for f in range(found):
        row = slots[features[f]]
        if row < 0:
            continue
        place = row & mask
        while places[place] >= 0 and features[places[place]] != row:
            place = (place + 1) & mask
        if places[place] < 0:
            places[place] = n
            features[n] = row  # n <= f: what is overwritten has been read
            times[n] = 0
            n += 1
        times[places[place]] += 1
    return n


@compiled()
def answer(values: Float32, temperature: float, margin: bool, best: Int64, sure: Float32) -> None:
    """Turn logits (N, K) into probabilities in place, with the label and confidence of each row.

    The arithmetic of `students.confidence.softmax` and `confidence`, without a numpy call per text.
    """
    n, k = values.shape
    for t in range(n):
        first = 0
        for c in range(1, k):
            if values[t, c] > values[t, first]:
                first = c
        top = values[t, first]
        total = np.float32(0.0)
        for c in range(k):
            e = np.float32(np.exp((values[t, c] - top) / temperature))
            values[t, c] = e
            total += e
        second = np.float32(0.0)
        for c in range(k):
            values[t, c] /= total
            if c != first:
                second = max(second, values[t, c])
        best[t] = first
        sure[t] = values[t, first] - second if margin else values[t, first]
