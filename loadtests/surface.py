"""How a text is asked on each surface and where the label stands in the answer."""

from __future__ import annotations

from typing import Any

import msgspec

from loadtests.spec import LoadSpec, Surface

PATHS: dict[Surface, str] = {"classify": "/v1/classify", "chat": "/v1/chat/completions"}


def body_of(spec: LoadSpec, text: str) -> bytes:
    """Return the JSON body that asks about `text`."""
    if spec.surface == "classify":
        return msgspec.json.encode({"text": text})
    messages = [{"role": "system", "content": spec.system}] if spec.system else []
    messages.append({"role": "user", "content": spec.user.replace("{text}", text)})
    return msgspec.json.encode({"model": spec.model, "messages": messages, "temperature": 0})


def label_of(surface: Surface, body: bytes) -> str | None:
    """Return the answered label or word; None when the reply is not an answer of this surface."""
    try:
        answer: Any = msgspec.json.decode(body)
        label = (
            answer["label"] if surface == "classify" else answer["choices"][0]["message"]["content"]
        )
    except (msgspec.DecodeError, KeyError, IndexError, TypeError):
        return None
    return label if isinstance(label, str) and label else None
