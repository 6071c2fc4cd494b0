"""The admin port of several workers: all of them looked at, one of them told.

It listens in the supervisor's process and reaches the workers over their own private sockets. A
change is made by one worker, which has the others follow (`router.process.following`); it is
answered when those of this host did.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import MutableMapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

import aiohttp
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from router.api.probes import refuse
from router.errors import BodyTooLarge, Conflict, Refusal, Unavailable
from router.http.edge import App, Receive, Send
from router.http.key_gate import KeyGate
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.admin_door import OPERATOR, AdminDoor
from router.process.board.board import Board
from router.process.board.maker import MakerProcess, PageFiles
from router.process.board.pulse import Pulse
from router.process.board.routes import BoardRoutes
from router.process.board.sign_in import SignIn
from router.process.server import Admin
from router.settings import Settings

START_S = 600.0
"""A worker that has not followed by then is not waited for."""
FOLLOW_S = 0.05
"""Between two looks whether the workers have followed."""
LOOK_S = 5.0
"""What only looks is answered within this, or the worker is taken for gone."""
MAX_BODY_BYTES = 65_536

State = dict[str, Any]
"""What `GET /state` says of a worker."""


class Relay:
    """Workers as one: an ASGI application over their admin sockets.

    Args:
        sockets: of the workers, in their order.
        token: what they ask for.
    """

    def __init__(self, sockets: Sequence[Path], token: str) -> None:
        self._sockets = sockets
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._changing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Open the connections."""
        self._open = AsyncExitStack()
        self._workers = [
            await self._open.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(path), force_close=True),
                    headers=self._headers,
                    timeout=aiohttp.ClientTimeout(total=None),
                )
            )
            for path in self._sockets
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._open.aclose()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except Refusal as refusal:
            response = await refuse(request, refusal)
        await response(scope, receive, send)

    async def pulses(self) -> Sequence[Pulse | None]:
        """Return what each worker says now, for the page."""
        replies = await asyncio.gather(
            *(self._ask(index, "GET", "/pulse") for index in range(len(self._workers)))
        )
        return [
            None if reply is None or reply.status_code != 200
            else msgspec.json.decode(bytes(reply.body), type=Pulse)
            for reply in replies
        ]  # fmt: skip

    async def _respond(self, request: Request) -> Response:
        # The path of the scope: one built from a URL would believe the Host header.
        target = quote(request.scope["path"])
        if request.method == "GET" and target == "/state":
            return JSONResponse({"workers": await self._states()})
        if query := request.scope["query_string"].decode("latin-1"):
            target += f"?{query}"
        if request.method in ("GET", "HEAD"):
            for index in range(len(self._workers)):
                reply = await self._ask(index, request.method, target, timeout_s=None)
                if reply is not None:
                    return reply
            raise Unavailable("No worker answers; they are being started.")
        who = request.client.host if request.client else "a socket"
        return await self._change(request.method, target, await _body(request), who)

    async def _change(self, method: str, target: str, body: bytes, who: str) -> Response:
        if self._changing.locked():
            raise Conflict("Another change is being made; wait until it is there.")
        async with self._changing:
            for index in range(len(self._workers)):
                reply = await self._ask(index, method, target, body, who, timeout_s=None)
                if reply is None:
                    continue
                if reply.status_code != 200:
                    return reply
                return await self._followed(index, target)
        raise Unavailable("No worker answers; they are being started.")

    async def _followed(self, told: int, target: str) -> Response:
        """Answer with every worker's state, once each is where the one that was told is."""
        wanted = await self._state(told)
        if wanted is None:
            raise Unavailable("The worker that made the change is gone; look at /state.")
        give_up_at = time.monotonic() + START_S
        while True:
            states = await self._states()
            behind = {i for i, s in enumerate(states) if s is not None and is_behind(s, wanted)}
            faults = {i: f for i in behind for f in faults_of(states[i] or {})}
            if faults or time.monotonic() > give_up_at:
                words = "; ".join(f"worker {i}: {fault}" for i, fault in faults.items())
                raise Conflict(f"Not all workers did it, so that they differ now. {words}")
            if not behind:
                return JSONResponse({"workers": [_part(state, target) for state in states]})
            await asyncio.sleep(FOLLOW_S)

    async def _states(self) -> list[State | None]:
        return list(await asyncio.gather(*map(self._state, range(len(self._workers)))))

    async def _state(self, index: int) -> State | None:
        reply = await self._ask(index, "GET", "/state")
        return None if reply is None or reply.status_code != 200 else _json(reply)

    async def _ask(
        self,
        index: int,
        method: str,
        target: str,
        body: bytes | None = None,
        who: str = "",
        timeout_s: float | None = LOOK_S,
    ) -> Response | None:
        """Return what a worker answers; None when it is not there.

        `who` is the operator behind a change, told to the worker that shall write it down.
        """
        told = {OPERATOR.decode(): who} if who else None
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._workers[index].request(
                    method, f"http://worker{target}", data=body, headers=told
                ) as reply,
            ):
                return Response(await reply.read(), reply.status, media_type=reply.content_type)
        except (aiohttp.ClientError, OSError):
            return None


def is_behind(state: State, wanted: State) -> bool:
    """Whether a worker has not followed a change that is in force at another one."""
    return state["version"] != wanted["version"] or any(
        state["tasks"][name]["version"] != task["version"] for name, task in wanted["tasks"].items()
    )


def faults_of(state: State) -> list[str]:
    """Return why a worker does not follow."""
    return [task["fault"] for task in state["tasks"].values() if task["fault"]]


def _part(state: State | None, target: str) -> Any:
    """Return what a change was about: a task, or the whole worker."""
    _, kind, *rest = target.split("/")
    return state["tasks"][unquote(rest[0])] if state and kind == "tasks" else state


class Operators:
    """The relay on its port, in a thread of its own: the supervisor's goes on watching."""

    def __init__(
        self,
        sockets: Sequence[Path],
        listener: socket.socket,
        settings: Settings,
        files: PageFiles,
    ) -> None:
        assert settings.admin_token is not None, "nobody could be let in"
        token = settings.admin_token.get_secret_value()
        self._relay = Relay(sockets, token)
        ring = KeyRing([KeySpec(name="admin", sha256=sha256_of(token))])
        self._board = Board(self._relay, MakerProcess(files))
        gate: App = KeyGate(ring, BoardRoutes(self._board, self._relay), lambda kind: None)
        self._server = Admin(AdminDoor(SignIn(gate, token)), listener, settings)
        self._listener = listener
        self._up = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._loop: asyncio.AbstractEventLoop

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._up.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        asyncio.run_coroutine_threadsafe(self._board.close(), self._loop).result()
        self._server.should_exit = True
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._relay:
            self._up.set()
            await self._server.serve(sockets=[self._listener])


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body has more than {MAX_BODY_BYTES:,} bytes.")
    return body


def _json(reply: Response) -> State:
    state: State = json.loads(bytes(reply.body))
    return state
