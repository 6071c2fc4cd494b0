"""What an operator may do to a running router, on a port of its own, with a token of its own.

Load, swap and roll back a bundle, give a canary its share, raise the threshold, drain, look.
Nothing here can make the router less careful than its certificates: a bundle that does not match
its certificate is refused, and a threshold can only be raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from costmodel.errors import CostModelError
from costmodel.web.server import WhatIf
from router.api.probes import refuse, refuse_http
from router.errors import BadRequest, Conflict, Refusal, RouterError, UnknownModel
from router.http.edge import App, Receive, Send
from router.http.key_gate import KeyGate
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.admin_door import AdminDoor
from router.process.board.board import Board
from router.process.board.changes import ChangeLog
from router.process.board.maker import MakerProcess, PageFiles
from router.process.board.pulse import Pulse, pulse_of
from router.process.board.routes import BoardRoutes
from router.process.board.sign_in import SignIn
from router.process.candidate import candidate_routes
from router.process.following.steward import Steward
from router.process.following.task_state import TaskState, state_of
from router.service.served import Served
from router.service.service import Service
from router.student.loaded import Model
from students.errors import BadBundle

Act = Callable[[Served], Awaitable[Model | None]]
"""Makes a change here; returns a model to retire."""

WhatIfOf = Callable[[str, str], WhatIf]
"""The what-if page of a task and one of its bundles; blocking, run in a thread.

Raises:
    CostModelError: the bundle says too little for a projection.
"""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BundleBody(_Body):
    """Which bundle."""

    bundle: str = Field(pattern=r"^[0-9a-f]{12}$")


class CanaryBody(BundleBody):
    """Which bundle answers which share of the requests."""

    share: float = Field(gt=0, lt=1)


class EndBody(_Body):
    """What becomes of the canary."""

    promote: bool


class ThresholdBody(_Body):
    """The confidence below which the teacher is asked, on top of the certificate's; None: only it.

    2 is above every confidence: everything is escalated.
    """

    threshold: float | None = Field(ge=0, le=2)


class DrainBody(_Body):
    """Whether the router shall be unready."""

    draining: bool


class AdminApp:
    """The admin application. `close` ends what its page left running."""

    def __init__(self, app: App, board: Board) -> None:
        self._app = app
        self._board = board

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        await self._app(scope, receive, send)

    async def close(self) -> None:
        """End the streams of the page, which would keep a server from stopping."""
        await self._board.close()


class OneWorker:
    """What this process says of itself: the source of the page where there is no other."""

    def __init__(self, service: Service, steward: Steward) -> None:
        self._service = service
        self._steward = steward

    async def pulses(self) -> Sequence[Pulse | None]:
        """Return this worker's."""
        return [self.pulse()]

    def pulse(self) -> Pulse:
        """Return what it is doing now."""
        tasks = self._service.tasks.items()
        states = {name: asdict(state_of(served, self._steward)) for name, served in tasks}
        return pulse_of(self._service, states)


def create_admin(
    service: Service,
    steward: Steward,
    token: str,
    what_if: WhatIfOf,
    files: PageFiles,
    *,
    inside: bool = False,
) -> AdminApp:
    """Build the admin application: every path needs the token, or a session that it opened.

    Args:
        service: what is operated.
        steward: makes the operators' changes.
        token: the operators'.
        what_if: its page for a bundle.
        files: what its page shows.
        inside: the supervisor of several workers stands in front.
    """
    worker = OneWorker(service, steward)
    board = Board(worker, MakerProcess(files))
    app = FastAPI(
        title="raisehand admin",
        redirect_slashes=False,
        exception_handlers={
            RouterError: _refuse,
            BadBundle: _refuse,
            CostModelError: _refuse,
            RequestValidationError: _refuse_body,
            HTTPException: refuse_http,
        },
    )
    app.include_router(_look(service, steward, what_if))
    app.include_router(_tell(worker))
    app.include_router(_change(service, steward))
    app.include_router(_change_canary(service, steward))
    app.include_router(candidate_routes(steward, partial(_make, service, steward)))
    ring = KeyRing([KeySpec(name="admin", sha256=sha256_of(token))])
    gate = KeyGate(ring, BoardRoutes(board, app), service.metrics.turned_away)
    record = ChangeLog(service).record
    door = AdminDoor(SignIn(gate, token), record, inside=inside)
    return AdminApp(door, board)


def _look(service: Service, steward: Steward, what_if: WhatIfOf) -> APIRouter:
    router = APIRouter()

    @router.get("/state", summary="What every task is doing")
    async def state() -> dict[str, Any]:
        return {
            "draining": service.draining,
            "version": steward.version(),
            "ledger_dropped": service.ledger.dropped,
            "tasks": {
                name: asdict(state_of(served, steward)) for name, served in service.tasks.items()
            },
        }

    @router.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(await service.exposition.read(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/tasks/{name}/whatif/{page:path}", summary="What if: sliders over the bill")
    async def project(name: str, page: str, request: Request) -> Response:
        bundle = _find(service, name).pipeline.slot.current.bundle
        reply = await asyncio.to_thread(
            lambda: what_if(name, bundle).respond(page, request.url.query)
        )
        return Response(reply.body, reply.status, media_type=reply.content_type)

    return router


def _tell(worker: OneWorker) -> APIRouter:
    """What the page is made from, for the supervisor of several workers."""
    router = APIRouter()

    @router.get("/pulse", summary="This worker's counts, for the page")
    async def pulse() -> Response:
        return Response(msgspec.json.encode(worker.pulse()), media_type="application/json")

    return router


def _change(service: Service, steward: Steward) -> APIRouter:
    router = APIRouter()

    change = partial(_make, service, steward)

    @router.post("/tasks/{name}/bundle", summary="Verify, load and swap in a bundle")
    async def swap(name: str, body: BundleBody) -> TaskState:
        async def act(served: Served) -> Model | None:
            return served.pipeline.slot.swap(await steward.loaded(served, body.bundle))

        return await change(name, act)

    @router.post("/tasks/{name}/rollback", summary="Let the bundle before answer again")
    async def rollback(name: str) -> TaskState:
        async def act(served: Served) -> None:
            served.pipeline.slot.rollback()

        return await change(name, act)

    @router.put("/tasks/{name}/threshold", summary="Ask the teacher more often")
    async def threshold(name: str, body: ThresholdBody) -> TaskState:
        async def act(served: Served) -> None:
            served.pipeline.threshold = body.threshold

        return await change(name, act)

    @router.put("/drain", summary="Become unready (still answering), or ready again")
    async def drain(body: DrainBody) -> dict[str, object]:
        await steward.drain(body.draining)
        return {"draining": service.draining, "queue_depth": service.queue_depth()}

    return router


def _change_canary(service: Service, steward: Steward) -> APIRouter:
    router = APIRouter()
    change = partial(_make, service, steward)

    @router.post("/tasks/{name}/canary", summary="Let a bundle answer a share of the requests")
    async def canary(name: str, body: CanaryBody) -> TaskState:
        async def act(served: Served) -> None:
            served.pipeline.slot.may_be_canary(body.bundle)
            model = await steward.loaded(served, body.bundle)
            served.pipeline.slot.set_canary(model, body.share)

        return await change(name, act)

    @router.post("/tasks/{name}/canary/end", summary="Promote the canary, or take it away")
    async def end_canary(name: str, body: EndBody) -> TaskState:
        async def act(served: Served) -> Model | None:
            return served.pipeline.slot.end_canary(promote=body.promote)

        return await change(name, act)

    return router


async def _make(service: Service, steward: Steward, name: str, act: Act) -> TaskState:
    served = _find(service, name)
    await steward.change(served, partial(act, served))
    return state_of(served, steward)


def _find(service: Service, name: str) -> Served:
    served = service.tasks.get(name)
    if served is None:
        raise UnknownModel(f"There is no task of that name; there are: {', '.join(service.tasks)}.")
    return served


async def _refuse(request: Request, error: Exception) -> Response:
    """A refusal as it is; what cannot be done to this router now is a conflict."""
    if not isinstance(error, Refusal):
        error = Conflict(str(error))
    return await refuse(request, error)


async def _refuse_body(request: Request, error: Exception) -> Response:
    """Name the fields that are wrong, and never repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'][1:]) or 'the body'}: {fault['msg']}"
        for fault in error.errors()
    )
    return await refuse(request, BadRequest(faults))
