"""The admin port of several workers: what an operator tells one is told to all.

It listens in the supervisor's process and reaches the workers over their own private sockets. A
change goes to one worker first: what that one refuses reaches no other. A worker that is started
later is brought to where the others are.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

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
from router.process.board.books import SlowBooks
from router.process.board.pulse import Pulse
from router.process.board.routes import BoardRoutes
from router.process.board.sign_in import SignIn
from router.process.server import Admin
from router.settings import Settings

START_S = 600.0
"""A worker that does not answer by then is not waited for."""
LOOK_S = 5.0
"""What only looks is answered within this, or the worker is taken for gone."""
MAX_BODY_BYTES = 65_536
log = logging.getLogger(__name__)

State = dict[str, Any]
"""What `GET /state` says of a worker."""
Step = tuple[str, str, Mapping[str, object]]
"""Method, path and body of one change."""


class Relay:
    """Workers as one: an ASGI application over their admin sockets.

    Args:
        sockets: of the workers, in their order.
        token: what they ask for.
    """

    def __init__(self, sockets: Sequence[Path], token: str) -> None:
        self._sockets = sockets
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._busy = asyncio.Lock()
        self._changing = False
        self.wanted: State | None = None
        """Where every worker shall be; None: as it was started."""

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

    async def books(self) -> SlowBooks | None:
        """Return what the first worker that answers tells of the files, which all share."""
        for index in range(len(self._workers)):
            reply = await self._ask(index, "GET", "/books")
            if reply is not None and reply.status_code == 200:
                return msgspec.json.decode(bytes(reply.body), type=SlowBooks)
        return None

    async def bring(self, index: int) -> None:
        """Bring a worker that was just started to where the others are."""
        try:
            async with asyncio.timeout(START_S):
                while await self._state(index) is None:
                    await asyncio.sleep(0.1)
            async with self._busy:
                state = await self._state(index)
                if state is None or self.wanted is None:
                    return
                for method, path, body in steps(state, self.wanted):
                    reply = await self._ask(
                        index, method, path, json.dumps(body).encode(), timeout_s=None
                    )
                    if reply is None or reply.status_code != 200:
                        raise Conflict(f"{method} {path} failed")
        except (TimeoutError, Refusal) as error:
            log.error("worker %d is not where the others are: %s", index, error)

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
        if self._changing:
            raise Conflict("Another change is being made; wait until it is there.")
        self._changing = True
        try:
            async with self._busy:  # a worker that is being brought up is waited for
                return await self._tell(method, target, body, who)
        finally:
            self._changing = False

    async def _tell(self, method: str, target: str, body: bytes, who: str) -> Response:
        replies: list[Response | None] = []
        for index in range(len(self._workers)):
            replies.append(await self._ask(index, method, target, body, who, timeout_s=None))
            if replies[-1] is not None:
                break
        first = replies[-1]
        if first is None:
            raise Unavailable("No worker answers; they are being started.")
        if first.status_code != 200:
            return first
        self.wanted = await self._state(len(replies) - 1)
        replies += await asyncio.gather(
            *(
                self._ask(index, method, target, body, timeout_s=None)
                for index in range(len(replies), len(self._workers))
            )
        )
        refused = {i: r for i, r in enumerate(replies) if r is not None and r.status_code != 200}
        if refused:
            words = "; ".join(f"worker {i}: {bytes(r.body).decode()}" for i, r in refused.items())
            raise Conflict(f"Not all workers did it, so that they differ now. {words}")
        return JSONResponse({"workers": [None if r is None else _json(r) for r in replies]})

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


def steps(state: State, wanted: State) -> Iterator[Step]:
    """Say what to tell a worker in `state`, so that it is in the state `wanted`."""
    for name, want in wanted["tasks"].items():
        now, path = state["tasks"][name], f"/tasks/{quote(name, safe='')}"
        if want["previous"] not in (None, now["previous"]):
            yield "POST", f"{path}/bundle", {"bundle": want["previous"]}
            if now["bundle"] == want["bundle"]:
                yield "POST", f"{path}/rollback", {}
            else:
                yield "POST", f"{path}/bundle", {"bundle": want["bundle"]}
        elif now["bundle"] != want["bundle"]:
            yield "POST", f"{path}/bundle", {"bundle": want["bundle"]}
        if want.get("shadow") is not None and now.get("shadow") is None:
            yield "POST", f"{path}/shadow", {"bundle": want["shadow"]}
        if want["canary"] is not None and now["canary"] is None:
            canary = {"bundle": want["canary"], "share": want["canary_share"]}
            yield "POST", f"{path}/canary", canary
        if now["raised_threshold"] != want["raised_threshold"]:
            yield "PUT", f"{path}/threshold", {"threshold": want["raised_threshold"]}
    if state["draining"] != wanted["draining"]:
        yield "PUT", "/drain", {"draining": wanted["draining"]}


class Operators:
    """The relay on its port, in a thread of its own: the supervisor's goes on watching."""

    def __init__(
        self, sockets: Sequence[Path], listener: socket.socket, settings: Settings
    ) -> None:
        assert settings.admin_token is not None, "nobody could be let in"
        token = settings.admin_token.get_secret_value()
        self._relay = Relay(sockets, token)
        ring = KeyRing([KeySpec(name="admin", sha256=sha256_of(token))])
        self._board = Board(self._relay)
        gate: App = KeyGate(ring, BoardRoutes(self._board, self._relay), lambda kind: None)
        self._server = Admin(AdminDoor(SignIn(gate, token)), listener, settings)
        self._listener = listener
        self._bringing: set[asyncio.Task[None]] = set()
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

    def started(self, index: int) -> None:
        """A worker was started; it will be told what the others were told before."""
        self._loop.call_soon_threadsafe(self._bring, index)

    def bundles(self, tasks: Sequence[str]) -> list[str]:
        """Return the bundle that answers for each task now; nothing before the first change."""
        wanted = self._relay.wanted
        return [wanted["tasks"][name]["bundle"] for name in tasks] if wanted else []

    def _bring(self, index: int) -> None:
        task = self._loop.create_task(self._relay.bring(index))
        self._bringing.add(task)
        task.add_done_callback(self._bringing.discard)

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
