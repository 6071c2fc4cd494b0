"""A few shapes for every batch: what a GPU computes was all recorded before it had to be fast.

Launching the some hundred kernels of a small encoder one by one takes the processor longer than
the GPU needs to run them. A CUDA graph replays them with one call, but only for the shapes it was
recorded with. So batches are padded to the next of a few sizes and lengths, each recorded at load:
nothing is compiled or allocated once the router is ready.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

SIZES = (1, 4, 16, 64, 256)
"""Texts of a batch."""
LENGTHS = (16, 32, 64, 128, 256, 512)
"""Tokens of a text, padding included."""

Replay = Callable[[Int64, Int64], Float32]
"""Logits (B, K) of ids (B, L) and mask (B, L), for one shape (B, L) only."""


class ShapedForward:
    """Pads to recorded shapes and replays them. Implements `Forward`.

    Args:
        record: makes the `Replay` of a shape (texts, tokens); called for every shape, here and
            never again.
        max_length: tokens of the longest text.
        pad_id: the token that fills up.
    """

    def __init__(
        self, record: Callable[[int, int], Replay], *, max_length: int, pad_id: int
    ) -> None:
        self._lengths = (*(n for n in LENGTHS if n < max_length), max_length)
        self._pad_id = pad_id
        self._lock = threading.Lock()  # a graph's input and output are always the same memory
        # The largest first: the smaller ones then fit in the memory it took.
        self._replays = {
            (size, length): record(size, length)
            for size in reversed(SIZES)
            for length in reversed(self._lengths)
        }

    def __call__(self, ids: Int64, mask: Int64) -> Float32:
        """Map ids (B, L) and mask (B, L) to logits (B, K); B at most the largest of SIZES."""
        texts, tokens = ids.shape
        size = SIZES[bisect_left(SIZES, texts)]
        length = self._lengths[bisect_left(self._lengths, tokens)]
        padding = ((0, size - texts), (0, length - tokens))
        with self._lock:
            logits = self._replays[size, length](
                np.pad(ids, padding, constant_values=self._pad_id), np.pad(mask, padding)
            )
        return logits[:texts]
