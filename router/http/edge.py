"""HTTP in, HTTP out, for the routes that must be fast: pure ASGI, nothing in between.

A hot route is an async function from a `Call` to a `Reply`. The edge looks the path up in a
dictionary, reads the body within its limits, gives the request an id and turns every error into
JSON that never repeats what the client sent. Every other path goes to the application behind it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

import msgspec

from router.clock import Client, Clock
from router.errors import BadRequest, BodyTooLarge, ClientGone, Refusal, SlowBody, WrongMethod
from router.http.connection import CLOSE, cycle_of, write_at_once
from router.http.hot_route import Call, HotRoute, Reply
from router.keys.ring import SCOPE_KEY
from router.provenance import cost_words
from router.settings import Settings

log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

T = TypeVar("T")
REQUEST_ID = re.compile(rb"[A-Za-z0-9-]{1,64}")


class Desk:
    """Gives requests their ids and words what went wrong.

    Args:
        turned_away: told the kind of every refusal that no task has booked.
    """

    def __init__(self, turned_away: Callable[[str], None]) -> None:
        self._turned_away = turned_away
        self._ids = map(f"{secrets.token_hex(8)}-{{:x}}".format, itertools.count())

    def request_id(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the id a request brings, when it is harmless, or a new one."""
        given = headers.get(b"x-request-id")
        if given is not None and REQUEST_ID.fullmatch(given):
            return given.decode("ascii")
        return next(self._ids)

    def apology(self, fault: BaseException, route: HotRoute, request_id: str) -> Reply | None:
        """Count and word what went wrong; None when nobody is there to read it."""
        if isinstance(fault, ClientGone):
            return None
        if not isinstance(fault, Refusal):
            log.error("request %s failed in a way nobody foresaw", request_id, exc_info=fault)
            fault = _UNFORESEEN
        if not fault.reason:  # those with a reason are counted where they are booked
            self._turned_away(fault.kind)
        return refused(fault, route.error_body)


class Edge:
    """Answers the hot routes, sends the rest on."""

    def __init__(
        self,
        routes: Mapping[str, HotRoute],
        rest: App,
        settings: Settings,
        clock: Clock,
        desk: Desk,
    ) -> None:
        self._desk = desk
        self._routes = routes
        self._rest = rest
        self._settings = settings
        self._clock = clock

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._rest(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = self._desk.request_id(headers)
        received_at = self._clock()
        try:
            if scope["method"] != "POST":
                raise WrongMethod("This path takes POST; see /docs.")
            body = await read_body(receive, self._settings)
            reply = await route.surface(
                Call(
                    headers,
                    body,
                    request_id,
                    received_at,
                    _client_of(receive),
                    send,
                    scope.get(SCOPE_KEY),
                )
            )
        except Exception as fault:
            reply = self._desk.apology(fault, route, request_id)
        if reply is not None:
            await send_reply(send, reply, request_id)


async def read_body(receive: Receive, settings: Settings) -> bytes:
    """Read a body of at most `max_body_bytes`, counted as it arrives.

    Raises:
        BodyTooLarge, SlowBody, ClientGone.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone("The client hung up.")
    body: bytes = message.get("body", b"")
    limit = settings.max_body_bytes
    if not message.get("more_body", False):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _read_on(receive, body, limit)
    except TimeoutError:
        raise SlowBody(
            f"The body did not arrive within {settings.body_timeout_s:g} s; send it at once."
        ) from None


async def _read_on(receive: Receive, first: bytes, limit: int) -> bytes:
    chunks, size, more = [first], len(first), True
    while more and size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client hung up.")
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        more = message.get("more_body", False)
    if size > limit:
        raise _too_large(limit)
    return b"".join(chunks)


def parse(decode: Callable[[bytes], T], body: bytes, taken: str) -> T:
    """Decode a body; `taken` says what the surface takes.

    Raises:
        BadRequest: in one sentence, what is wrong and what is taken.
    """
    try:
        return decode(body)
    except RecursionError:
        raise BadRequest(f"The body is nested too deeply. {taken}") from None
    except ValueError as error:  # not JSON, not UTF-8, not the fields
        raise BadRequest(f"The body is not taken: {str(error)[:200]}. {taken}") from None


async def send_reply(send: Send, reply: Reply, request_id: str) -> None:
    """Write a reply with its length and request id."""
    fields = reply_fields(reply, request_id)
    cycle = cycle_of(send)
    if cycle is not None:
        await write_at_once(cycle, reply.status, fields, reply.body)
        return
    headers = [tuple(line.split(b": ", 1)) for line in fields.splitlines()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def reply_fields(reply: Reply, request_id: str) -> bytes:
    """Return the header lines of a reply."""
    return b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b" % (
        reply.content_type,
        len(reply.body),
        request_id.encode("ascii"),
        reply.fields,
    )


def refused(refusal: Refusal, error_body: Callable[[Refusal], bytes]) -> Reply:
    """Word a refusal; when to come back and why are in the headers too."""
    fields = b""
    if refusal.retry_after_s is not None:
        fields += b"retry-after: %d\r\n" % max(1, round(refusal.retry_after_s))
    if refusal.reason:
        fields += b"x-raisehand-route: refused\r\n"
        fields += b"x-raisehand-reason: %b\r\n" % refusal.reason.encode("ascii")
    if refusal.bundle:
        fields += b"x-raisehand-bundle: %b\r\n" % refusal.bundle.encode("ascii")
        fields += b"x-raisehand-cost-usd: %b\r\n" % cost_words(refusal.usd)
    if refusal.final:
        fields += b"x-should-retry: false\r\n"
    if refusal.status == 405:
        fields += b"allow: POST\r\n"
    if refusal.status in (408, 413):  # the rest of the body is not going to be read
        fields += CLOSE
    return Reply(error_body(refusal), refusal.status, fields=fields)


def native_error(refusal: Refusal) -> bytes:
    """Error body of the native surfaces."""
    return msgspec.json.encode({"error": {"type": refusal.kind, "message": str(refusal)}})


def openai_error(refusal: Refusal) -> bytes:
    """Error body of the OpenAI surface."""
    code = refusal.reason or None
    return msgspec.json.encode(
        {
            "error": {
                "message": str(refusal),
                "type": refusal.kind,
                "param": None,
                "code": code,
            }
        }
    )


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is over {limit:,} bytes; send less, or raise max_body_bytes.")


def _client_of(receive: Receive) -> Client | None:
    """Return uvicorn's request cycle behind `receive`: it knows when the client hung up.

    ASGI has no way to ask without waiting; on a server that offers no such attribute nobody is
    ever known to have left.
    """
    cycle = getattr(receive, "__self__", None)
    return cycle if hasattr(cycle, "disconnected") else None


_UNFORESEEN = Refusal("The router failed on this request; its log says why.")
