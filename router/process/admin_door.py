"""The door of the admin port: no change that another site made a browser send, none unwritten.

A browser that knows the token as a password adds it to whatever a page asks it to send. So a change
must come from the port's own pages or from no page at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from router.errors import Forbidden
from router.http.desk import native_error, refused
from router.http.edge import App, Message, Receive, Send, send_reply

_LOOKS = ("GET", "HEAD", "OPTIONS")
_OWN_PAGES = (b"same-origin", b"none")
_SHOWN = 200
"""Bytes of a change's body that are written down: a bundle, a share, a threshold."""
log = logging.getLogger("router.admin.changes")


class AdminDoor:
    """Wraps the admin application: refuses changes from elsewhere, logs those that were made."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http" or scope["method"] in _LOOKS:
            await self._app(scope, receive, send)
            return
        if is_from_elsewhere(dict(scope["headers"])):
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
        if status < 300:
            who = (scope.get("client") or ("a socket",))[0]
            change = bytes(body[:_SHOWN]).decode("utf-8", "replace")
            log.info("%s changed %s %s %s", who, scope["method"], scope["path"], change)


def is_from_elsewhere(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that a page of another site is behind a request."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in _OWN_PAGES:
        return True
    origin = headers.get(b"origin")
    if origin is None:
        return False
    return urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") != headers.get(b"host")
