"""How sure a student is: one function, used by calibration AND by serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["max_probability", "margin"]


def _max_probability(p: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    top: npt.NDArray[np.floating] = p.max(axis=1)
    return top


def _margin(p: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    two = np.partition(p, -2, axis=1)[:, -2:]
    gap: npt.NDArray[np.floating] = two[:, 1] - two[:, 0]
    return gap


KINDS: dict[str, Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]] = {
    "max_probability": _max_probability,
    "margin": _margin,
}


def confidence(
    probabilities: npt.NDArray[np.floating], kind: Kind = "max_probability"
) -> npt.NDArray[np.floating]:
    """Score probabilities (N, K) as confidences (N,) in [0, 1]; NaN rows score NaN.

    With K = 2 both kinds give the same order of rows.
    """
    return KINDS[kind](probabilities)


def softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> npt.NDArray[np.floating]:
    """Turn logits (N, K) into probabilities (N, K) at the given temperature."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    exp = np.exp(scaled)
    total: npt.NDArray[np.floating] = exp / exp.sum(axis=1, keepdims=True)
    return total
