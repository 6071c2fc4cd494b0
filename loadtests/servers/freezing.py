"""A server that stalls: fast, then frozen for two seconds, again and again.

The harness is tried against it. A load test that does not see the stall is broken.

    python -m loadtests.servers.freezing --port 8091 --every 10 --freeze 2
"""

from __future__ import annotations

import asyncio
import time

import click

from loadtests.servers.asgi import App, Receive, Scope, Send, read_body, reply, serve
from loadtests.servers.null import BODY, HEADERS


def freezing_app(every_s: float, freeze_s: float, latency_s: float) -> App:
    """Build a server whose event loop blocks for `freeze_s` once in every `every_s` seconds.

    The first freeze begins `every_s - freeze_s` after the first request, so that a warm server is
    seen first.
    """
    freezer: list[asyncio.Task[None]] = []

    async def freeze() -> None:
        while True:
            await asyncio.sleep(every_s - freeze_s)
            time.sleep(freeze_s)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not freezer:
            freezer.append(asyncio.create_task(freeze()))
        await read_body(receive)
        await asyncio.sleep(latency_s)
        await reply(send, 200, BODY, HEADERS)

    return app


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8091, show_default=True)
@click.option("--every", default=10.0, show_default=True, help="Seconds from freeze to freeze.")
@click.option("--freeze", default=2.0, show_default=True, help="Seconds of one freeze.")
@click.option("--latency", default=0.002, show_default=True, help="Seconds of a normal answer.")
def main(host: str, port: int, every: float, freeze: float, latency: float) -> None:
    """Serve well, then not at all."""
    serve(freezing_app(every, freeze, latency), host, port)


if __name__ == "__main__":
    main()
