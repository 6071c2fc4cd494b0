"""An answer of the Responses API as the events of a stream, all known before the first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from router.api.responses.item import (
    IN_WORK,
    ResponseObject,
    SaidCall,
    SaidMessage,
    SaidRefusal,
    SaidText,
)

Event = tuple[str, dict[str, Any]]


def stream_of(response: ResponseObject) -> bytes:
    """Write the events that bring an answer, in OpenAI's order."""
    lines = []
    for number, (name, fields) in enumerate(_events(response)):
        event = {"type": name, "sequence_number": number, **fields}
        lines.append(b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(event)))
    return b"".join(lines)


def _events(response: ResponseObject) -> Iterator[Event]:
    begun = replace(response, status=IN_WORK, output=[], usage=None).fields()
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    [item] = response.output
    yield from _call(item) if isinstance(item, SaidCall) else _message(item)
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield "response.completed", {"response": response.fields()}


def _call(item: SaidCall) -> Iterator[Event]:
    begun = replace(item, arguments="", status=IN_WORK)
    yield "response.output_item.added", {"output_index": 0, "item": begun}
    at = {"item_id": item.id, "output_index": 0}
    yield "response.function_call_arguments.delta", at | {"delta": item.arguments}
    whole = at | {"name": item.name, "arguments": item.arguments}
    yield "response.function_call_arguments.done", whole


def _message(item: SaidMessage) -> Iterator[Event]:
    begun = replace(item, content=[], status=IN_WORK)
    yield "response.output_item.added", {"output_index": 0, "item": begun}
    [part] = item.content
    at = {"item_id": item.id, "output_index": 0, "content_index": 0}
    yield "response.content_part.added", at | {"part": _empty(part)}
    if isinstance(part, SaidText):
        text = at | {"logprobs": []}
        yield "response.output_text.delta", text | {"delta": part.text}
        yield "response.output_text.done", text | {"text": part.text}
    else:
        yield "response.refusal.delta", at | {"delta": part.refusal}
        yield "response.refusal.done", at | {"refusal": part.refusal}
    yield "response.content_part.done", at | {"part": part}


def _empty(part: SaidText | SaidRefusal) -> SaidText | SaidRefusal:
    return SaidText("") if isinstance(part, SaidText) else SaidRefusal("")
