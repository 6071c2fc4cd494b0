"""The addresses of the page, behind the token: itself, its document, and the document's stream."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from router.api.probes import refuse
from router.errors import Refusal
from router.http.edge import App, Receive, Send
from router.process.board.board import Board
from router.process.board.sign_in import HEADERS, board_page


class BoardRoutes:
    """Wraps an admin application: what is not the page's is its."""

    def __init__(self, board: Board, app: App) -> None:
        self._board = board
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        path = scope.get("path")
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif path == "/":
            await board_page()(scope, receive, send)
        elif path == "/board":
            await (await self._document(Request(scope, receive)))(scope, receive, send)
        elif path == "/board/stream" and scope["method"] == "GET":
            await self._stream(receive, send)
        else:
            await self._app(scope, receive, send)

    async def _document(self, request: Request) -> Response:
        try:
            document = await self._board.read()
        except Refusal as refusal:
            return await refuse(request, refusal)
        return Response(document, media_type="application/json", headers=HEADERS)

    async def _stream(self, receive: Receive, send: Send) -> None:
        headers = {**HEADERS, "content-type": "text/event-stream", "x-accel-buffering": "no"}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        telling = asyncio.create_task(self._tell(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, leaving):
                task.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)
        await send({"type": "http.response.body", "body": b""})

    async def _tell(self, send: Send) -> None:
        async for document in self._board.follow():
            body = b"retry: 2000\ndata: " + document + b"\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
