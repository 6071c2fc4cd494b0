"""How a text is asked on each surface and where the label stands in the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
BATCH_TEXTS = 16
"""Texts of one request on surface `batch`: a row and those after it."""
_EVENT_END = re.compile(rb"\r?\n\r?\n|\r\r")
"""An empty line; a server ends its lines in any of three ways, as the HTML standard has it."""


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


def label_of(surface: Surface, body: bytes, texts: int = 1) -> str | None:
    """Return the answered label or word; None when the reply is not an answer of this surface.

    Of `texts` that were asked together each has its answer; the first one's is returned.
    """
    try:
        label = _of_batch(body, texts) if surface == "batch" else _LABELS[surface](body)
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


def events_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where each server-sent event ends in `body`, and its data."""
    start = 0
    for end in (*(found.end() for found in _EVENT_END.finditer(body)), len(body)):
        lines = body[start:end].splitlines()
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        yield end, b"\n".join(data)
        start = end


def spoken(data: bytes) -> str:
    """Return the text that the data of one event of a chat stream carries.

    Raises:
        ValueError: it is an error, with which the stream breaks off, or no JSON.
    """
    if not data or data == b"[DONE]":
        return ""
    chunk = msgspec.json.decode(data)
    if chunk.get("error"):
        raise ValueError("the stream broke off")
    choices = chunk.get("choices")
    return (choices[0]["delta"].get("content") or "") if choices else ""


def _of_classify(body: bytes) -> Any:
    return msgspec.json.decode(body)["label"]


def _of_batch(body: bytes, texts: int) -> Any:
    labels = [item["label"] for item in msgspec.json.decode(body)["data"]]
    answered = len(labels) == texts and all(isinstance(each, str) and each for each in labels)
    return labels[0] if answered else None


def _of_chat(body: bytes) -> Any:
    return msgspec.json.decode(body)["choices"][0]["message"]["content"]


def _of_stream(body: bytes) -> Any:
    found = [data for _, data in events_of(body)]
    return "".join(map(spoken, found)) if b"[DONE]" in found else None


def _of_systemone(body: bytes) -> Any:
    probabilities = msgspec.json.decode(body)["answers"][QUESTION]["probabilities"]
    return max(probabilities, key=probabilities.__getitem__)


_LABELS = {
    "classify": _of_classify,
    "chat": _of_chat,
    "chat-stream": _of_stream,
    "systemone": _of_systemone,
}
