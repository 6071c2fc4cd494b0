"""An instant mock of a chat teacher, for peers that only pass requests on.

`python -m router.bench.servers.upstream` answers every request with one canned completion, from a
bare `asyncio.Protocol`: it must never be what is measured.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

import click
import uvloop

from router.bench.subject import MODEL

_COMPLETION = {
    "id": "chatcmpl-mock",
    "object": "chat.completion",
    "created": 0,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "intent_00"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43},
}
_MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "mock"}]}


class Instant(asyncio.Protocol):
    """Answers as soon as a whole request is there; assumes no pipelining."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer when the request is whole."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lines = self._buffer[:head].lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        if len(self._buffer) < head + 4 + sum(lengths):
            return
        get = self._buffer.startswith(b"GET /v1/models")
        self._buffer = b""
        self._transport.write(_reply(_MODELS) if get else _CANNED)


def _reply(body: object) -> bytes:
    payload = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}"
    return head.encode() + b"\r\n\r\n" + payload


_CANNED = _reply(_COMPLETION)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", 0)
    click.echo(json.dumps({"port": server.sockets[0].getsockname()[1], "threads": {}}))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
