"""The same encoder behind LitServe, with its batching on.

Runs from the peers' environment, which has no raisehand in it; a file of its own therefore.
"""

import sys
from typing import Any

import litserve
import numpy as np
from encoder import load_encoder


class Encoder(litserve.LitAPI):
    """Texts in batches, labels out."""

    def setup(self, device: str) -> None:
        """Load the encoder in the worker."""
        self.model = load_encoder(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> str:
        """Return the text."""
        return str(request["text"])

    def predict(self, texts: list[str]) -> list[float]:
        """Embed a batch."""
        return np.asarray(self.model.encode(texts))[:, 0].tolist()

    def encode_response(self, output: float) -> dict[str, str]:
        """Name the label."""
        return {"label": "b" if output > 0 else "a"}


if __name__ == "__main__":
    api = Encoder(max_batch_size=32, batch_timeout=0.001, api_path="/v1/classify")
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False)
