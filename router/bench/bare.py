"""The floor: uvicorn, configured like the router, that answers a constant.

`python -m router.bench.bare`: what is left between this and the router is the router's own work.
"""

from __future__ import annotations

import json
import threading
from collections.abc import MutableMapping
from typing import Any

import click
import uvicorn
import uvloop

from router.http.edge import Receive, Send, send_reply
from router.http.hot_route import Reply
from router.process.server import bind

_REPLY = Reply(b'{"label":"intent_00"}')


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Read the body, answer a constant."""
    await receive()
    await send_reply(send, _REPLY, "bare")


async def _serve() -> None:
    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", lifespan="off", access_log=False,
        log_level="warning", server_header=False, proxy_headers=False,
    )  # fmt: skip
    threads = {"MainThread": threading.get_native_id()}
    listener.listen()
    click.echo(json.dumps({"port": listener.getsockname()[1], "threads": threads}))
    await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    uvloop.run(_serve())
