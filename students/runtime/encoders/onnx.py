"""Logits by ONNX Runtime: an encoder student on whatever runs ONNX, a phone included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from students.errors import BadBundle

MODEL = "model.onnx"
INPUTS, OUTPUT = ("ids", "mask"), "logits"


class OnnxForward:
    """One session for all threads. Implements `Forward`.

    Raises:
        BadBundle: ONNX Runtime cannot read the model.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common class but this.
            raise BadBundle(f"{folder / MODEL} cannot be run: {error}") from None

    def __call__(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Map ids (B, L) and mask (B, L) to logits (B, K)."""
        (logits,) = self._session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))
        out: npt.NDArray[np.float32] = logits
        return out
