"""An encoder student at serving time: tokens, batches of like length, logits, calibrated answers.

Who computes the logits is an argument: torch (`network` beside this), OpenVINO in int8 (`int8`) or
ONNX Runtime (`onnx`). Everything around it is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from students.confidence import Kind, confidence, softmax
from students.errors import BadBundle
from students.labels import LabelSchema, Prediction
from students.runtime.seen import SeenNgrams

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

TOKENIZER = "tokenizer.json"
CHARACTERS_PER_TOKEN = 12
"""Text beyond max_length times this is cut before tokenizing, which costs time by raw length."""
BATCH = 32
"""Texts of one forward pass on a CPU: more brings no speed."""
PASS_TOKENS = 16
"""What a forward pass costs on a CPU beside its tokens, as tokens: 13 (int8) to 20 (torch) with
MiniLM. Padding that would cost more is not worth sharing a pass for."""


class Forward(Protocol):
    """Computes logits; releases the GIL and may be called from several threads."""

    def __call__(self, ids: Int64, mask: Int64) -> Float32:
        """Map token ids (B, L) and mask (B, L) to logits (B, K)."""
        ...


class Tokenizing:
    """One tokenizer for each thread.

    Raises:
        BadBundle: there is no tokenizer in the folder.
    """

    def __init__(self, folder: Path, max_length: int) -> None:
        try:
            self._json = (folder / TOKENIZER).read_text(encoding="utf-8")
        except OSError as error:
            raise BadBundle(f"{folder / TOKENIZER} cannot be read: {error.strerror}") from None
        self._max_length = max_length
        self._local = threading.local()
        self._tokenizer()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut at max_length, not padded."""
        cut = self._max_length * CHARACTERS_PER_TOKEN
        # A lone surrogate is no text to a tokenizer: it becomes a replacement character.
        clean = [t[:cut].encode("utf-8", "replace").decode("utf-8") for t in texts]
        return [one.ids for one in self._tokenizer().encode_batch_fast(clean)]

    def _tokenizer(self) -> Tokenizer:
        found: Tokenizer | None = getattr(self._local, "tokenizer", None)
        if found is None:
            from tokenizers import Tokenizer

            try:
                found = Tokenizer.from_str(self._json)
            except Exception as error:
                raise BadBundle(f"{TOKENIZER} is not a tokenizer: {error}") from None
            found.no_padding()
            found.enable_truncation(self._max_length)
            self._local.tokenizer = found
        return found


class EncoderStudent:
    """Tokens in, calibrated answers out. Implements `Student`.

    A label does not depend on the other texts of the call; its confidence may differ in the last
    float32 digits, because a matrix product sums in another order for another batch size.
    Texts of like length share a forward pass, `batch` of them at most; `pass_tokens` is what a pass
    costs beside its tokens, None where it is everything. `streams` passes are computed at once.
    """

    in_place_tokens = 0

    def __init__(
        self,
        schema: LabelSchema,
        tokenizing: Tokenizing,
        forward: Forward,
        *,
        max_length: int,
        pad_id: int,
        batch: int = BATCH,
        pass_tokens: int | None = PASS_TOKENS,
        streams: int = 1,
        temperature: float = 1.0,
        kind: Kind = "max_probability",
        seen: SeenNgrams | None = None,
    ) -> None:
        self.schema = schema
        self.unknown_share = None if seen is None else seen.unknown_share
        """Of a text's n-grams, those that the student learnt nothing of; None: it cannot say."""
        self._tokenizing = tokenizing
        self.forward = forward
        """The network alone, without tokenizing."""
        self._max_length = max_length
        self._pad_id = pad_id
        self._batch = batch
        self._pass_tokens = pass_tokens
        self._map = ThreadPoolExecutor(streams, "encoder").map if streams > 1 else map
        self._temperature = temperature
        self._kind = kind

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer each text, in order."""
        if not texts:
            return []
        return predictions(self.logits(texts), self._temperature, self._kind)

    def logits(self, texts: Sequence[str]) -> Float32:
        """Return logits (N, K)."""
        tokens = self._tokenizing.encode(texts)
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        out = np.empty((len(texts), len(self.schema)), np.float32)
        lengths = [len(tokens[i]) for i in order]
        batches = [order[part] for part in cut(lengths, self._batch, self._pass_tokens)]

        def logits_of(rows: Sequence[int]) -> Float32:
            return self.forward(*pad([tokens[i] for i in rows], self._pad_id))

        for rows, logits in zip(batches, self._map(logits_of, batches), strict=True):
            out[rows] = logits
        return out

    def token_count(self, text: str) -> int:
        """Estimate one token for every four characters that are read, and at least two."""
        return min(len(text) // 4 + 2, self._max_length)


def predictions(logits: Float32, temperature: float, kind: Kind) -> list[Prediction]:
    """Turn logits (N, K) into calibrated answers."""
    probabilities = softmax(logits, temperature).astype(np.float32)
    sure = confidence(probabilities, kind)
    labels = probabilities.argmax(axis=1)
    return list(map(Prediction, labels.tolist(), sure.tolist(), probabilities))


def cut(lengths: Sequence[int], most: int, pass_tokens: int | None) -> list[slice]:
    """Cut texts, the shortest first, into batches of at most `most` that cost the least in all.

    A batch costs its texts times its longest one, and `pass_tokens`; with None, the fewest batches
    are the cheapest. By dynamic programming over where the last batch begins.
    """
    n = len(lengths)
    if pass_tokens is None:
        return [slice(i, i + most) for i in range(0, n, most)]
    cost, begins = [0] * (n + 1), [0] * (n + 1)
    for end in range(1, n + 1):
        longest = lengths[end - 1]
        begin = min(range(max(0, end - most), end), key=lambda i: cost[i] + (end - i) * longest)
        cost[end], begins[end] = cost[begin] + (end - begin) * longest + pass_tokens, begin
    parts = []
    while n:
        parts.append(slice(begins[n], n))
        n = begins[n]
    return parts


def pad(tokens: Sequence[Sequence[int]], pad_id: int) -> tuple[Int64, Int64]:
    """Stack token lists as ids (B, L) and mask (B, L), padded to the longest."""
    longest = max(map(len, tokens))
    ids = np.full((len(tokens), longest), pad_id, np.int64)
    mask = np.zeros((len(tokens), longest), np.int64)
    for row, one in enumerate(tokens):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return ids, mask
