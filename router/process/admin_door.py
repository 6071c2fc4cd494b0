"""The door of the admin port: no change that another site made a browser send, none unwritten.

A browser that knows the token as a password adds it to whatever a page asks it to send. So a change
must come from the port's own pages or from no page at all.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from router.errors import Forbidden
from router.http.desk import native_error, refused
from router.http.edge import App, Message, Receive, Send, send_reply

_LOOKS = ("GET", "HEAD", "OPTIONS")
_OWN_PAGES = (b"same-origin", b"none")
OPERATOR = b"x-raisehand-operator"
"""Who made a change that the supervisor passes on; only to the first worker that is told."""
_SHOWN = 200
"""Bytes of a change's body that are written down: a bundle, a share, a threshold."""
log = logging.getLogger("router.admin.changes")


@dataclass(frozen=True, slots=True)
class Change:
    """What an operator did."""

    who: str
    method: str
    path: str
    body: str


Record = Callable[[Change], Awaitable[None]]
"""Keeps a change where all can see it."""


class AdminDoor:
    """Wraps the admin application: refuses changes from elsewhere, logs those that were made.

    Args:
        app: the application.
        record: told of each change; None: the log alone has it.
        inside: the supervisor stands in front, and says who it was to one of its workers.
    """

    def __init__(self, app: App, record: Record | None = None, *, inside: bool = False) -> None:
        self._app = app
        self._record = record
        self._inside = inside

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http" or scope["method"] in _LOOKS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if is_from_elsewhere(headers):
            refusal = Forbidden("A page of another site may change nothing here.")
            await send_reply(send, refused(refusal, native_error), "admin")
            return
        body, status = bytearray(), 0

        async def hear() -> Message:
            message = await receive()
            body.extend(message.get("body", b"")[:_SHOWN])
            return message

        async def tell(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self._app(scope, hear, tell)
        if status >= 300:
            return
        who = str((scope.get("client") or ("a socket",))[0])
        words = bytes(body[:_SHOWN]).decode("utf-8", "replace")
        log.info("%s changed %s %s %s", who, scope["method"], scope["path"], words)
        if self._inside:
            who = headers.get(OPERATOR, b"").decode("latin-1")
        if self._record is not None and who:
            await self._record(Change(who, scope["method"], scope["path"], words))


def is_from_elsewhere(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that a page of another site is behind a request."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in _OWN_PAGES:
        return True
    origin = headers.get(b"origin")
    if origin is None:
        return False
    return urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") != headers.get(b"host")
