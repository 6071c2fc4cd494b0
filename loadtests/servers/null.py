"""A server that does nothing: what the generator reaches against it is the generator's own limit.

python -m loadtests.servers.null --port 8090

It reads no more of a request than where it ends: a server of the usual kind would reach its own
limit before the generator does.
"""

from __future__ import annotations

import asyncio
from typing import cast

import click

from loadtests.servers.asgi import JSON

BODY = b'{"label":"null","confidence":1.0,"raisehand":{"route":"student","reason":"confident"}}'
HEADERS = (
    JSON,
    (b"x-raisehand-route", b"student"),
    (b"x-raisehand-reason", b"confident"),
    (b"x-raisehand-confidence", b"1.0"),
    (b"x-raisehand-cost-usd", b"0"),
)
REPLY = b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (
    b"".join(b"%b: %b\r\n" % header for header in HEADERS),
    len(BODY),
    BODY,
)
_END, _LENGTH = b"\r\n\r\n", b"content-length:"


class Nothing(asyncio.Protocol):
    """Answers every request at once with the same words, as a router would word them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        buffer = self._buffer + data
        while (head := buffer.find(_END)) >= 0:
            written = buffer[:head].lower()
            at = written.find(_LENGTH)
            length = int(written[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(buffer) < head + len(_END) + length:
                break
            buffer = buffer[head + len(_END) + length :]
            self._transport.write(REPLY)
            if b"connection: close" in written:
                self._transport.close()
        self._buffer = buffer


async def _serve(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Nothing, host, port, backlog=8192)
    await server.serve_forever()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True)
def main(host: str, port: int) -> None:
    """Serve nothing, quickly."""
    import uvloop

    uvloop.run(_serve(host, port))


if __name__ == "__main__":
    main()
