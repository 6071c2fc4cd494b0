"""The door in front of the application: who presents no key gets no further."""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping
from typing import Any, Protocol

from router.errors import OverQuota, Unauthorized
from router.http.desk import CLOSE, error_body_of, refused
from router.http.edge import App, Receive, Send, send_reply
from router.keys.ring import SCOPE_KEY, SECRET_HEADERS, KeyRing

OPEN = frozenset({"/healthz", "/readyz"})
"""What a load balancer asks without a key; every other path is shut, known or not."""
_CHALLENGE = b'www-authenticate: Bearer\r\nwww-authenticate: Basic realm="raisehand"\r\n'


class CountRefusal(Protocol):
    """Told the kind of every refusal at the door (metrics)."""

    def __call__(self, kind: str) -> None:
        """Count one."""
        ...


class KeyGate:
    """Lets requests with a known key within its limits through to `app`, without the key.

    The decision is made on the path of the ASGI scope, never on a URL built from headers, and the
    secret is taken off the request, so that nothing behind can log it or send it on.
    """

    def __init__(self, ring: KeyRing, app: App, count: CountRefusal) -> None:
        self._ring = ring
        self._app = app
        self._count = count

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        try:
            key = self._ring.identify(scope["headers"])
            if scope["method"] == "POST":
                key.admit()
        except (Unauthorized, OverQuota) as refusal:
            self._count(refusal.kind)
            reply = refused(refusal, error_body_of(scope["path"]))
            reply.fields += CLOSE
            if refusal.status == 401:
                reply.fields += _CHALLENGE
            await send_reply(send, reply, secrets.token_hex(8))
            return
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in SECRET_HEADERS]
        scope[SCOPE_KEY] = key
        await self._app(scope, receive, send)
