"""The little ASGI that the test servers need: read a body, send a reply, run under uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")


async def read_body(receive: Receive) -> bytes:
    """Return the whole request body."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def reply(send: Send, status: int, body: bytes, headers: Sequence[Header] = (JSON,)) -> None:
    """Send one complete reply."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def cut(send: Send, body: bytes) -> None:
    """Promise more than is sent; the server then closes the connection."""
    length = (b"content-length", str(len(body) + 1).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [JSON, length]})
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    raise ConnectionAbortedError("a knob asked for this reply to break off")


async def is_gone(receive: Receive) -> bool:
    """Whether the client has hung up."""
    message = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    gone = message.done()
    message.cancel()
    return gone


def serve(app: App, host: str, port: int) -> None:
    """Run `app` in this process until it is told to stop; quiet, one worker, no lifespan."""
    import uvicorn

    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        log_level="critical",
        lifespan="off",
        backlog=8192,
        timeout_keep_alive=75,
    )
