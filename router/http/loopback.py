"""A shipped fake for tests: a server without sockets."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from router.http.cors import Cors
from router.http.desk import Desk
from router.http.wire.connection import HttpConnection, Lane
from router.http.wire.head import Heads
from router.settings import Settings


class Loopback:
    """What its clients send is there at once, in the reads they choose."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        express: Lane | None = None,
        cors: Cors | None = None,
    ) -> None:
        self._config = Config(app, lifespan="off", ws="none", log_config=None, proxy_headers=False)
        self._config.load()
        self._state = ServerState()
        self._connection = partial(
            HttpConnection,
            settings=settings,
            desk=Desk(lambda kind: None),
            heads=Heads(),
            express=express,
            cors=cors,
        )

    def connect(self) -> LoopbackClient:
        """Open a connection on the running loop."""
        return LoopbackClient(self._connection(self._config, self._state, {}))


class LoopbackClient(asyncio.Transport):
    """The far end of a connection, and the transport the near end writes to."""

    def __init__(self, connection: HttpConnection) -> None:
        super().__init__()
        self.received = b""
        self.closed = False
        self._connection = connection
        connection.connection_made(self)

    def send(self, data: bytes) -> None:
        """Let one read bring this."""
        self._connection.data_received(data)

    async def until_idle(self) -> None:
        """Wait until no request of this connection is in work."""
        await asyncio.sleep(0)
        while self._connection.busy:
            await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Go away."""
        self.closed = True
        self._connection.connection_lost(None)

    def write(self, data: Any) -> None:
        """Receive."""
        self.received += data

    def write_eof(self) -> None:
        """Nothing more is received."""

    def is_closing(self) -> bool:
        """Whether the near end has closed."""
        return self.closed

    def close(self) -> None:
        """The near end closes."""
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """What is sent is read all the same."""

    resume_reading = pause_reading
