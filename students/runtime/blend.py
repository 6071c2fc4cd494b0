"""A linear and an encoder student as one: their log probabilities, added with a weight each.

Each sees what the other does not, the words themselves and what they mean, so that together they
disagree with the teacher less than either. The weights hold the temperatures of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from students.confidence import Kind
from students.errors import BadBundle
from students.labels import Prediction
from students.runtime.encoders.encoder import EncoderStudent, predictions
from students.runtime.linear import LinearWeights


@dataclass(frozen=True)
class Shares:
    """What the logits of each part are multiplied by, both at least 0."""

    linear_share: float
    encoder_share: float

    def of(
        self, linear: npt.NDArray[np.float32], encoder: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return the logits (N, K) of the two together."""
        together: npt.NDArray[np.float32] = (
            np.float32(self.linear_share) * linear + np.float32(self.encoder_share) * encoder
        )
        return together

    def config(self) -> dict[str, JsonValue]:
        """What the manifest has to keep."""
        return dict(asdict(self))

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> Shares:
        """Read what `config` gave.

        Raises:
            BadBundle: it is missing or no number.
        """
        try:
            return cls(float(str(config["linear_share"])), float(str(config["encoder_share"])))
        except (KeyError, ValueError) as error:
            raise BadBundle(f"the blend lacks {error} in config; distil again") from None


class BlendStudent:
    """Two students, one answer. Implements `Student`."""

    in_place_tokens = 0

    def __init__(
        self,
        linear: LinearWeights,
        encoder: EncoderStudent,
        shares: Shares,
        *,
        temperature: float = 1.0,
        kind: Kind = "max_probability",
    ) -> None:
        if linear.bias.size != len(encoder.schema):
            raise BadBundle(
                f"the linear part answers {linear.bias.size} labels, the manifest names "
                f"{len(encoder.schema)}; distil again"
            )
        self.schema = encoder.schema
        self.unknown_share = encoder.unknown_share
        self._linear = linear
        self._encoder = encoder
        self._shares = shares
        self._temperature = temperature
        self._kind = kind

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer each text, in order."""
        if not texts:
            return []
        logits = self._shares.of(self._linear.logits(texts), self._encoder.logits(texts))
        return predictions(logits, self._temperature, self._kind)

    def token_count(self, text: str) -> int:
        """Estimate the encoder's tokens: the linear part's time is nothing beside it."""
        return self._encoder.token_count(text)
