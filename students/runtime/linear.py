"""The linear student at serving time: one compiled call from texts to calibrated answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from students.confidence import Kind
from students.errors import BadBundle
from students.labels import LabelSchema, Prediction
from students.runtime import hashing
from students.runtime.bundle import Terms

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

IN_PLACE_TOKENS = 1_024
"""Some 0.5 ms on one core, for 77 labels."""
LANES = 8
"""Rows are padded to this many float32: whole SIMD registers, aligned cache lines."""


@dataclass(frozen=True, eq=False)
class LinearWeights:
    """All that was trained: see `students.runtime.hashing.logits` for how it is used.

    Attributes:
        shortest: characters of the shortest n-gram.
        longest: characters of the longest n-gram.
        slots: (buckets,), row of each bucket, -1 where training left it out.
        rows: (rows, stride), K columns of logits, then the squared weight of the feature.
        bias: (K,).
        terms: what a repeated feature counts.
        folded: whether texts are folded (`hashing.folded`), or their case alone.

    Raises:
        BadBundle: the arrays do not fit each other: using them would read foreign memory.
    """

    shortest: int
    longest: int
    slots: Int32
    rows: Float32
    bias: Float32
    terms: Terms = "counts"
    folded: bool = True

    def __post_init__(self) -> None:
        buckets, k = self.slots.size, self.bias.size
        fits = (
            1 <= self.shortest <= self.longest
            and self.slots.ndim == 1
            and buckets.bit_count() == 1
            and self.rows.ndim == 2
            and self.rows.shape[1] >= k + 1
            and self.slots.min() >= -1
            and self.slots.max() < max(1, self.rows.shape[0])
            and [a.dtype.name for a in (self.slots, self.rows, self.bias)]
            == ["int32", "float32", "float32"]
        )
        if not fits:
            raise BadBundle(
                f"the linear weights do not fit together: slots {self.slots.shape}, rows "
                f"{self.rows.shape}, bias {self.bias.shape}, n-grams {self.shortest} to "
                f"{self.longest}; distil again"
            )

    @classmethod
    def of(
        cls,
        shortest: int,
        longest: int,
        slots: Int32,
        weight: Float32,
        logits: Float32,
        bias: Float32,
        terms: Terms = "counts",
    ) -> LinearWeights:
        """Lay out trained logits (rows, K) of features that weigh `weight` (rows,)."""
        n, k = logits.shape
        rows = np.zeros((max(1, n), -(-(k + 1) // LANES) * LANES), np.float32)
        np.multiply(logits, weight[:, None], out=rows[:n, :k])
        rows[:n, k] = weight**2
        return cls(shortest, longest, slots, rows, bias, terms)

    def logits(self, texts: Sequence[str]) -> Float32:
        """Return logits (N, K); each text is computed on its own."""
        return self.logits_of(*hashing.pack(texts, fold=self.folded))

    def logits_of(self, data: UInt8, offsets: Int64) -> Float32:
        """Return logits (N, K) of N texts that lie end to end, folded as `folded` says."""
        out = np.empty((offsets.size - 1, self.bias.size), np.float32)
        hashing.logits(
            data, offsets, self.shortest, self.longest, self.slots, self.rows, self.bias,
            self.terms == "sublinear", out,
        )  # fmt: skip
        return out

    def config(self) -> dict[str, JsonValue]:
        """What the manifest has to keep beside the arrays."""
        return {
            "shortest": self.shortest,
            "longest": self.longest,
            "terms": self.terms,
            "folded": self.folded,
        }

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays as safetensors stores them."""
        return {"slots": self.slots, "rows": self.rows, "bias": self.bias}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, npt.NDArray[np.generic]], config: Mapping[str, object]
    ) -> LinearWeights:
        """Rebuild from what `tensors` and `config` gave; older ones count occurrences, unfolded.

        Raises:
            BadBundle: something is missing or does not fit.
        """
        try:
            shortest, longest = int(str(config["shortest"])), int(str(config["longest"]))
            slots, rows, bias = (
                np.ascontiguousarray(tensors[n]) for n in ("slots", "rows", "bias")
            )
        except (KeyError, ValueError) as error:
            raise BadBundle(f"the linear weights lack {error}; distil again") from None
        terms = config.get("terms", "counts")
        if terms not in get_args(Terms):
            raise BadBundle(
                f"the linear weights count terms {terms!r}, this version knows "
                f"{' and '.join(get_args(Terms))}; update raisehand or distil again"
            )
        fold = config.get("folded", False) is True
        return cls(shortest, longest, slots, rows, bias, cast("Terms", terms), fold)


class LinearStudent:
    """Hashed n-grams, one table of logits, a temperature. Implements `Student`."""

    in_place_tokens = IN_PLACE_TOKENS

    def __init__(
        self,
        schema: LabelSchema,
        weights: LinearWeights,
        *,
        temperature: float = 1.0,
        kind: Kind = "max_probability",
    ) -> None:
        if weights.bias.size != len(schema):
            raise BadBundle(
                f"the weights answer {weights.bias.size} labels, the manifest names {len(schema)}"
            )
        self.schema = schema
        self.weights = weights
        self._temperature = temperature
        self._margin = kind == "margin"

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer each text, in order; thread-safe, and free of the GIL while it computes."""
        packed = hashing.pack(texts, fold=self.folds)
        values, best, sure = self.answer_packed(*packed)
        return list(map(Prediction, best.tolist(), sure.tolist(), values))

    @property
    def folds(self) -> bool:
        """Whether texts are folded (`hashing.folded`) before they are read, or only lowered."""
        return self.weights.folded

    def answer_packed(self, data: UInt8, offsets: Int64) -> tuple[Float32, Int64, Float32]:
        """Answer N texts that lie end to end: probabilities (N, K), labels and confidences (N,)."""
        values = self.weights.logits_of(data, offsets)
        best = np.empty(offsets.size - 1, np.int64)
        sure = np.empty(offsets.size - 1, np.float32)
        hashing.answer(values, self._temperature, self._margin, best, sure)
        return values, best, sure

    def unknown_share(self, text: str) -> float:
        """Return the share of a text's n-grams that nothing was learnt of; 1 where it has none."""
        data, offsets = hashing.pack([text], fold=self.folds)
        weights = self.weights
        features, _ = hashing.bag(
            data, offsets, weights.shortest, weights.longest, weights.slots.size
        )
        return float((weights.slots[features] < 0).mean()) if features.size else 1.0

    def token_count(self, text: str) -> int:
        """One token for every four characters that are read, and at least one."""
        return min(len(text), hashing.CHARACTERS) // 4 + 1
