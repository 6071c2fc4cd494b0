"""How a text is asked on each surface and where the label stands in the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from loadtests.inputs.spec import LoadSpec, Surface

PATHS: Mapping[Surface, str] = {
    "classify": "/v1/classify",
    "chat": "/v1/chat/completions",
    "chat-stream": "/v1/chat/completions",
    "systemone": "/v1/systemone",
    "batch": "/v1/classify",
}
QUESTION = "label"
INSTRUCTIONS = "Which option fits best?"


def body_of(
    spec: LoadSpec, text: str, surface: Surface | None = None, others: Sequence[str] = ()
) -> bytes:
    """Return the JSON body that asks about `text`, on `surface` if not on the spec's own.

    `others` are asked together with it on surface `batch`.
    """
    surface = surface or spec.surface
    if surface in ("classify", "batch"):
        asked: dict[str, object] = {"text": text if surface == "classify" else [text, *others]}
        if spec.student_only:
            asked["student_only"] = True
        if spec.ask_within_ms is not None:
            asked["deadline_ms"] = spec.ask_within_ms
        return msgspec.json.encode(asked)
    said = spec.user.replace("{text}", text)
    if surface == "systemone":
        question = {
            "type": "choice",
            "instructions": spec.system or INSTRUCTIONS,
            "criteria": dict.fromkeys(spec.labels),
        }
        return msgspec.json.encode(
            {"model": spec.model, "state": said, "questions": {QUESTION: question}}
        )
    messages = [{"role": "system", "content": spec.system}] if spec.system else []
    messages.append({"role": "user", "content": said})
    streamed = {"stream": True} if surface == "chat-stream" else {}
    return msgspec.json.encode(
        {"model": spec.model, "messages": messages, "temperature": 0, **streamed}
    )


def label_of(surface: Surface, body: bytes) -> str | None:
    """Return the answered label or word; None when the reply is not an answer of this surface."""
    try:
        label = _LABELS[surface](body)
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, ValueError):
        return None
    return label if isinstance(label, str) and label else None


def decimal_of(value: str | None) -> Decimal | None:
    """Return a header's amount; None when it is missing or no finite number."""
    try:
        amount = Decimal(value) if value else None
    except InvalidOperation:
        return None
    return amount if amount is None or amount.is_finite() else None


def spoken(event: bytes) -> str:
    """Return the text that one server-sent event of a chat stream carries."""
    data = event.partition(b"data:")[2].strip()
    if not data or data == b"[DONE]":
        return ""
    choices = msgspec.json.decode(data).get("choices")
    return (choices[0]["delta"].get("content") or "") if choices else ""


def _of_classify(body: bytes) -> Any:
    return msgspec.json.decode(body)["label"]


def _of_batch(body: bytes) -> Any:
    return msgspec.json.decode(body)["data"][0]["label"]


def _of_chat(body: bytes) -> Any:
    return msgspec.json.decode(body)["choices"][0]["message"]["content"]


def _of_stream(body: bytes) -> Any:
    events = body.split(b"\n\n")
    return "".join(map(spoken, events)) if b"data: [DONE]" in events else None


def _of_systemone(body: bytes) -> Any:
    probabilities = msgspec.json.decode(body)["answers"][QUESTION]["probabilities"]
    return max(probabilities, key=probabilities.__getitem__)


_LABELS = {
    "classify": _of_classify,
    "chat": _of_chat,
    "chat-stream": _of_stream,
    "systemone": _of_systemone,
    "batch": _of_batch,
}
