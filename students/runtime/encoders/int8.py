"""Logits by OpenVINO: the int8 runtime of an encoder student on a CPU.

The model's own integers are in the bundle (`model.xml`, `model.bin`); nothing is quantised here.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from students.errors import BadBundle
from students.runtime.cores import cores

MODEL = "model.xml"
BATCH = 16
"""Texts of one forward pass: the fastest of 8, 16, 32 and 64, with VNNI and without."""


class Int8Forward:
    """One compiled model, one inference request for each thread. Implements `Forward`.

    A call computes on one core; `streams` calls at once, from as many threads, use all of them,
    which is faster than one batch spread over the cores.

    Raises:
        BadBundle: OpenVINO cannot read the model.
    """

    def __init__(self, folder: Path) -> None:
        self.streams = cores()
        import openvino

        try:
            core = openvino.Core()
            self._model = core.compile_model(
                core.read_model(folder / MODEL),
                "CPU",
                {
                    "NUM_STREAMS": self.streams,
                    # By default what is not int8 is bfloat16 on processors that have it: a
                    # certificate would then hold for the kind of processor it was made on.
                    "INFERENCE_PRECISION_HINT": "f32",
                    "INFERENCE_NUM_THREADS": self.streams,
                },
            )
        except RuntimeError as error:
            raise BadBundle(f"{folder / MODEL} cannot be run: {error}") from None
        self._local = threading.local()

    def __call__(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Map ids (B, L) and mask (B, L) to logits (B, K)."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._model.create_infer_request()
        logits: npt.NDArray[np.float32] = request.infer([ids, mask])[0]
        return logits.copy()
