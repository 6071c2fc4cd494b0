"""The server most people write: FastAPI, a typed body, sentence-transformers, no batching.

Runs from the peers' environment, which has no raisehand in it; a file of its own therefore.
"""

import sys

import numpy as np
import uvicorn
from encoder import load_encoder
from fastapi import FastAPI
from pydantic import BaseModel


class Question(BaseModel):
    """One text."""

    text: str


def create_app(folder: str) -> FastAPI:
    """Embed a text and call the sign of its first coordinate the label: the work is the encoder."""
    model = load_encoder(folder)
    app = FastAPI()

    @app.post("/v1/classify")
    def classify(question: Question) -> dict[str, str]:
        return {"label": "b" if np.asarray(model.encode([question.text]))[0, 0] > 0 else "a"}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[1]), port=int(sys.argv[2]), access_log=False)
