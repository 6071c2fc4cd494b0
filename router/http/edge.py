"""HTTP in, HTTP out, for the routes that must be fast: pure ASGI, nothing in between.

A hot route is an async function from a `Call` to a `Reply`. The edge looks the path up in a
dictionary, gives the request an id and turns every error into JSON that never repeats what the
client sent. Every other path goes to the application behind it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from router.clock import Client, Clock
from router.errors import BadRequest, ClientGone, WrongMethod
from router.http.desk import Desk, reply_fields
from router.http.exchange import WAITED_S
from router.http.hot_route import Call, HotRoute, Reply
from router.http.wire.unreadable import cause_of
from router.keys.ring import SCOPE_KEY

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

T = TypeVar("T")


class Edge:
    """Answers the hot routes, sends the rest on."""

    def __init__(
        self,
        routes: Mapping[str, HotRoute],
        rest: App,
        clock: Clock,
        desk: Desk,
    ) -> None:
        self._desk = desk
        self._routes = routes
        self._rest = rest
        self._clock = clock

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._rest(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = self._desk.request_id(headers)
        received_at = self._clock() - scope.get(WAITED_S, 0.0)
        try:
            if scope["method"] != "POST":
                raise WrongMethod("This path takes POST; see /docs.")
            body = await read_body(receive)
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
            reply = self._desk.apology(fault, route.error_body, request_id)
        if reply is not None:
            await send_reply(send, reply, request_id)


async def read_body(receive: Receive) -> bytes:
    """Read a body; the connection has kept it within its limits.

    Raises:
        ClientGone: the client hung up before its end.
    """
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client hung up.")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


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
        raise BadRequest(f"{cause_of(body, error)} {taken}") from None


async def send_reply(send: Send, reply: Reply, request_id: str) -> None:
    """Write a reply with its length and request id."""
    fields = reply_fields(reply, request_id)
    headers = [tuple(line.split(b": ", 1)) for line in fields.splitlines()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _client_of(receive: Receive) -> Client | None:
    """Return the request's exchange behind `receive`: it knows when the client hung up.

    ASGI has no way to ask without waiting; on a server that offers no such attribute nobody is
    ever known to have left.
    """
    cycle = getattr(receive, "__self__", None)
    return cycle if hasattr(cycle, "disconnected") else None
