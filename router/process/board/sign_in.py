"""Who may see the page: the token is asked for once, the browser keeps a session and no token.

A session is a time and its signature, made with the token: nothing is stored, another token ends
every session. The cookie is HttpOnly and SameSite=Strict; what changes anything must come from the
port's own pages besides (`router.process.admin_door`).
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping, MutableMapping
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response

from router.clock import Clock
from router.http.edge import App, Receive, Send

COOKIE = "raisehand_admin"
SESSION_S = 12 * 3600
PAUSE_S = 1.0
"""After a wrong token: nobody tries many."""
MAX_FORM_BYTES = 4_096
FOLDER = Path(__file__).parent
KIT = Path(__file__).parents[3] / "costmodel" / "report" / "style.css"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class SignIn:
    """Wraps what asks for the token: a browser with a session is let in as if it had sent it.

    Args:
        app: asks for the token.
        token: the operator's.
        wall: the time, in Unix seconds.
    """

    def __init__(self, app: App, token: str, wall: Clock = time.time) -> None:
        self._app = app
        self._token = token
        self._wall = wall
        self._key = sha256(b"raisehand admin session " + token.encode()).digest()
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path, method = dict(scope["headers"]), scope["path"], scope["method"]
        if method in ("GET", "HEAD") and path in _OPEN:
            await _OPEN[path](scope, receive, send)
        elif path == "/login" and method == "POST":
            await (await self._log_in(receive))(scope, receive, send)
        elif path == "/logout" and method == "POST":
            reply = RedirectResponse("./", 303, headers=HEADERS)
            reply.delete_cookie(COOKIE, httponly=True, samesite="strict")
            await reply(scope, receive, send)
        elif self._knows(headers):
            scope["headers"] = [
                *(pair for pair in scope["headers"] if pair[0] != b"cookie"),
                (b"authorization", b"Bearer " + self._token.encode()),
            ]
            await self._app(scope, receive, send)
        elif path == "/" and b"authorization" not in headers and method in ("GET", "HEAD"):
            await _page("sign_in.html")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _log_in(self, receive: Receive) -> Response:
        body, more = b"", True
        while more and len(body) <= MAX_FORM_BYTES:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        [given] = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[-1:]
        async with self._one_at_a_time:
            if not hmac.compare_digest(given.strip().encode(), self._token.encode()):
                await asyncio.sleep(PAUSE_S)
                return _page("sign_in.html", wrong=True)
        reply = RedirectResponse("./", 303, headers=HEADERS)
        until = int(self._wall()) + SESSION_S
        value = f"{until}.{self._signature(str(until))}"
        reply.set_cookie(COOKIE, value, SESSION_S, httponly=True, samesite="strict")
        return reply

    def _knows(self, headers: Mapping[bytes, bytes]) -> bool:
        if b"authorization" in headers or b"cookie" not in headers:
            return False
        try:
            cookies = SimpleCookie(headers[b"cookie"].decode("latin-1"))
        except CookieError:
            return False
        until, _, signature = (cookies[COOKIE].value if COOKIE in cookies else "").partition(".")
        signed = hmac.compare_digest(signature.encode(), self._signature(until).encode())
        return signed and float(until) > self._wall()

    def _signature(self, until: str) -> str:
        return hmac.new(self._key, until.encode(), sha256).hexdigest()


def _page(name: str, *, wrong: bool = False) -> HTMLResponse:
    html = (FOLDER / name).read_text(encoding="utf-8")
    if wrong:
        html = html.replace(' hidden id="wrong"', ' id="wrong"')
    return HTMLResponse(html, 403 if wrong else 200, headers=HEADERS)


def board_page() -> HTMLResponse:
    """The page itself; it holds no figures."""
    return _page("board.html")


def _style() -> Response:
    parts = (KIT, FOLDER / "board.css")
    text = "".join(part.read_text(encoding="utf-8") for part in parts)
    return Response(text, media_type="text/css", headers=HEADERS)


def _script() -> Response:
    text = (FOLDER / "board.js").read_text(encoding="utf-8")
    return Response(text, media_type="text/javascript", headers=HEADERS)


async def _send_style(scope: Any, receive: Receive, send: Send) -> None:
    await _style()(scope, receive, send)


async def _send_script(scope: Any, receive: Receive, send: Send) -> None:
    await _script()(scope, receive, send)


async def _send_nothing(scope: Any, receive: Receive, send: Send) -> None:
    await Response(status_code=204)(scope, receive, send)


_OPEN: Mapping[str, App] = {
    "/board.css": _send_style,
    "/board.js": _send_script,
    "/favicon.ico": _send_nothing,
}
"""What holds no figure."""
