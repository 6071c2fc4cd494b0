"""uvicorn's HTTP protocol with what it lacks: an end to request heads that never end.

uvicorn waits for ever for the rest of a head, and a byte now and then keeps the connection open
(slowloris); nor does it bound the size of a head. Bodies are timed and counted by the edge.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536


class TimedProtocol(HttpToolsProtocol):
    """Closes a connection whose head is not there in time, or is too long.

    The time counts from the connection, for the first request, and from its first byte for each
    one after; an idle connection between two requests is uvicorn's keep-alive to close.
    """

    def __init__(self, *args: Any, head_timeout_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a timer runs only while a head is incomplete between two reads."""
        super().data_received(data)
        if not self._in_head:
            self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request head is too long.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout_s, self._too_slow)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        super().on_headers_complete()

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
