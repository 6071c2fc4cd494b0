"""The out-of-scope gate: how far is a text from all that the student has learnt from?

A student is as sure of a text of another task as of one of its own: two labels always leave a
winner. So the text's hashed n-grams are laid down in a few dense dimensions (latent semantic
analysis), and its distance to the nearest of some centres of the training texts is compared with a
limit, which almost all unlabelled texts of the task keep. What is beyond it has no confidence: NaN,
which no threshold lets through, in calibration as in service. The gate can only add escalations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from students.errors import BadBundle
from students.labels import Prediction
from students.runtime.linear import LinearWeights
from students.runtime.protocol import Student

Float32 = npt.NDArray[np.float32]
SCOPE_FILE = "scope.safetensors"
SCOPE = "scope"
"""In a bundle's config: how texts are read, and the limit."""


@dataclass(frozen=True, eq=False)
class ScopeGate:
    """What is far from the training texts.

    Attributes:
        axes: from a text to its place (D,); the table of a linear student, of axes for labels.
        centres: (C, D), unit vectors.
        limit: a text farther than this from every centre is out of scope; 1 - cosine, in [0, 2].

    Raises:
        BadBundle: the arrays do not fit each other.
    """

    axes: LinearWeights
    centres: Float32
    limit: float

    def __post_init__(self) -> None:
        if self.centres.ndim != 2 or self.centres.shape[1] != self.axes.bias.size:
            raise BadBundle(
                f"the scope's centres have shape {self.centres.shape}, its texts "
                f"{self.axes.bias.size} dimensions; distil again"
            )

    def distances(self, texts: Sequence[str]) -> Float32:
        """How far each text is from the nearest centre, (N,); 1 for one without a known feature.

        A place is shorter the less of a text the axes hold, so what they leave out counts, too.
        """
        nearest: Float32 = (self.axes.logits(texts) @ self.centres.T).max(axis=1)
        return np.float32(1.0) - nearest

    def outside(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether each text is out of scope, (N,)."""
        beyond: npt.NDArray[np.bool_] = self.distances(texts) > self.limit
        return beyond

    def save(self, folder: Path) -> None:
        """Write the arrays beside the student's."""
        save_file({**self.axes.tensors(), "centres": self.centres}, folder / SCOPE_FILE)

    def config(self) -> dict[str, JsonValue]:
        """What the manifest has to keep."""
        return {SCOPE: {**self.axes.config(), "limit": self.limit}}

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, object]) -> ScopeGate:
        """Read what `save` wrote, by what `config` gave.

        Raises:
            BadBundle: something is missing or does not fit.
        """
        try:
            tensors = load_file(folder / SCOPE_FILE)
            limit, centres = float(str(config["limit"])), tensors.pop("centres")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise BadBundle(f"{folder / SCOPE_FILE} cannot be read ({error})") from None
        return cls(LinearWeights.from_tensors(tensors, config), centres, limit)


class GatedStudent:
    """A student that is never sure of a text that is out of scope. Implements `Student`."""

    def __init__(self, student: Student, gate: ScopeGate) -> None:
        self.schema = student.schema
        self.unknown_share = getattr(student, "unknown_share", None)
        self.in_place_tokens = student.in_place_tokens // 2  # the gate reads each text, too
        self._student = student
        self._gate = gate

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer each text, in order; without confidence where it is out of scope."""
        answers = self._student.predict(texts)
        if not answers:
            return answers
        return [
            Prediction(one.label, float("nan"), one.probabilities, in_scope=False)
            if outside
            else one
            for one, outside in zip(answers, self._gate.outside(texts).tolist(), strict=True)
        ]

    def token_count(self, text: str) -> int:
        """As the student's."""
        return self._student.token_count(text)
