"""The floor: uvicorn, configured like the router, that answers a constant.

`python -m router.bench.servers.bare`: what is left between this and the router is the router's own
work.
"""

from __future__ import annotations

import json
import threading
from collections.abc import MutableMapping
from typing import Any, cast

import click
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from router.http.edge import Receive, Send
from router.process.server import bind

_BODY = b'{"label":"intent_00","choices":[{"message":{"content":"intent_00"}}]}'
_ANSWER = b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_LINE = b"%b: %b\r\n".__mod__


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Read the body, answer a constant in one write: `send` would make two, and check each byte."""
    await receive()
    cycle = cast(RequestResponseCycle, getattr(send, "__self__", None))
    fields = b"".join(map(_LINE, cycle.default_headers))
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(_ANSWER % (fields, len(_BODY), _BODY))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


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
