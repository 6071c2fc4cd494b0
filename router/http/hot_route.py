"""What a hot surface is: it reads a call, the task's pipeline answers, it words the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import msgspec

from router.clock import Client
from router.errors import BadRequest, Refusal
from router.keys.ring import Key
from router.pipeline import Pipeline
from router.request import Answer, Ask

JSON = b"application/json"
_DEADLINE, _THRESHOLD = b"x-raisehand-deadline-ms", b"x-raisehand-threshold"
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Call(msgspec.Struct, gc=False):
    """One request with its body read. `headers` keeps the last of repeated names."""

    headers: dict[bytes, bytes]
    body: bytes
    request_id: str
    received_at: float
    """On the monotonic clock; the deadline counts from here."""
    client: Client | None
    send: Send | None = None
    """For an endpoint that streams its own answer and returns None."""
    key: Key | None = None
    """Who asks, where API keys are required."""
    why: str = ""
    """What stood against its being a task's question, where it is passed on."""


class Reply(msgspec.Struct, gc=False):
    """What goes back. `fields` are further header lines as they will stand on the wire, CRLF each.

    Values come from the configuration and from enumerations, never from a request.
    """

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    fields: bytes = b""


class Single(msgspec.Struct, frozen=True, gc=False):
    """A call about one text, answered in one piece."""

    pipeline: Pipeline
    ask: Ask
    word: Callable[[Answer], Reply]

    async def answer(self) -> Reply:
        """Ask and word.

        Raises:
            Refusal: nobody could answer.
        """
        return self.word(await self.pipeline.answer(self.ask))


class Surface(Protocol):
    """A hot surface."""

    def single(self, call: Call) -> Single | None:
        """Read a call about one text; None for any other, which only `__call__` answers.

        Raises:
            Refusal: the body is wrong.
        """
        ...

    async def __call__(self, call: Call) -> Reply | None:
        """Answer one call of any kind, or stream an answer and return None.

        Raises:
            Refusal: the body is wrong or nobody could answer.
        """
        ...


class HotRoute(msgspec.Struct, frozen=True):
    """A hot route: POST only, with the error format of its surface."""

    surface: Surface
    error_body: Callable[[Refusal], bytes]


def limits_in(call: Call) -> tuple[float | None, float | None]:
    """Read deadline (ms) and threshold from the headers: bodies of a foreign format have no place.

    Raises:
        BadRequest: one is no number, or out of bounds.
    """
    deadline, threshold = call.headers.get(_DEADLINE), call.headers.get(_THRESHOLD)
    return (
        None if deadline is None else _number(deadline, _DEADLINE),
        None if threshold is None else _number(threshold, _THRESHOLD, at_most=1.0),
    )


def _number(given: bytes, name: bytes, at_most: float = float("inf")) -> float:
    """Read a number from a header.

    Raises:
        BadRequest: it is none, or not within 0 and `at_most`.
    """
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= at_most:
        raise BadRequest(f"{name.decode()} must be a number from 0 to {at_most:g}.")
    return value
