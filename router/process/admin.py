"""What an operator may do to a running router, on a port of its own, with a token of its own.

Load, swap and roll back a bundle, give a canary its share, raise the threshold, drain, look.
Nothing here can make the router less careful than its certificates: a bundle that does not match
its certificate is refused, and a threshold can only be raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
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
from router.api.tasks import Served, Service
from router.errors import BadRequest, Conflict, Refusal, RouterError, UnknownModel
from router.http.edge import App, Receive, Send
from router.http.key_gate import KeyGate
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.admin_door import AdminDoor
from router.process.board.board import Board
from router.process.board.books import BookKeeper, SlowBooks
from router.process.board.changes import ChangeLog
from router.process.board.pulse import Pulse, pulse_of
from router.process.board.routes import BoardRoutes
from router.process.board.sign_in import SignIn
from router.process.candidate import candidate_routes
from router.shared.records import Figure
from router.student.loaded import Model
from students.errors import BadBundle
from students.task import Task

Load = Callable[[Task, str], Model]
"""Reads, verifies and warms a bundle of a task; blocking, run in a thread."""

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


@dataclass(frozen=True, slots=True)
class TaskState:
    """What one task is doing now."""

    bundle: str
    previous: str | None
    canary: str | None
    canary_share: float
    thresholds: tuple[float, ...]
    raised_threshold: float | None
    queue_depth: int
    teacher_inflight: int
    teacher_limit: int
    teacher_refusal_probability: float
    escalation_budget_fill: float | None
    audits: Mapping[str, Figure] | None
    """What all workers' audits say of the current bundle's certificate."""
    audits_lost: int
    shadow: str | None = None
    duel: Mapping[str, Figure] | None = None
    """How the shadow does beside the current bundle, over all workers."""


class AdminApp:
    """The admin application. `close` ends what its page left running."""

    def __init__(self, app: App, board: Board, books: BookKeeper) -> None:
        self._app = app
        self._board = board
        self._books = books

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        await self._app(scope, receive, send)

    async def close(self) -> None:
        """End the streams of the page, which would keep a server from stopping."""
        await self._board.close()
        await self._books.close()


class OneWorker:
    """What this process says of itself: the source of the page where there is no other."""

    def __init__(self, service: Service, books: BookKeeper) -> None:
        self._service = service
        self._books = books

    async def pulses(self) -> Sequence[Pulse | None]:
        """Return this worker's."""
        return [self.pulse()]

    async def books(self) -> SlowBooks:
        """Return what is in its files."""
        return await self._books.read()

    def pulse(self) -> Pulse:
        """Return what it is doing now."""
        tasks = self._service.tasks.items()
        return pulse_of(self._service, {name: asdict(state_of(served)) for name, served in tasks})


def create_admin(
    service: Service,
    load: Load,
    token: str,
    what_if: WhatIfOf,
    *,
    ledger: Path | None = None,
    inside: bool = False,
) -> AdminApp:
    """Build the admin application: every path needs the token, or a session that it opened.

    Args:
        service: what is operated.
        load: reads a bundle.
        token: the operators'.
        what_if: its page for a bundle.
        ledger: the file that the page adds up; None: it shows no money.
        inside: the supervisor of several workers stands in front.
    """
    stores = dict.fromkeys(keeper.store for keeper in service.keepers.values())
    tasks = [served.task for served in service.tasks.values()]
    books = BookKeeper(tasks, ledger, [store.events for store in stores])
    worker = OneWorker(service, books)
    board = Board(worker)
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
    app.include_router(_look(service, what_if))
    app.include_router(_tell(worker))
    app.include_router(_change(service, load))
    ring = KeyRing([KeySpec(name="admin", sha256=sha256_of(token))])
    gate = KeyGate(ring, BoardRoutes(board, app), service.metrics.turned_away)
    record = ChangeLog(service).record
    door = AdminDoor(SignIn(gate, token), record, inside=inside)
    return AdminApp(door, board, books)


def state_of(served: Served) -> TaskState:
    """Read what a task is doing."""
    pipeline = served.pipeline
    slot, guard = pipeline.slot, pipeline.guard
    return TaskState(
        bundle=slot.current.bundle,
        previous=slot.previous.bundle if slot.previous else None,
        canary=slot.canary.bundle if slot.canary else None,
        canary_share=slot.canary_share,
        thresholds=tuple(slot.current.thresholds),
        raised_threshold=pipeline.threshold,
        queue_depth=sum(model.batcher.depth for model in slot.models),
        teacher_inflight=guard.inflight,
        teacher_limit=guard.bulkhead.limit,
        teacher_refusal_probability=guard.throttle.refusal_probability,
        escalation_budget_fill=pipeline.budget.fill if pipeline.budget else None,
        audits=slot.current.watch.ruling.verdict.figures if slot.current.watch else None,
        audits_lost=pipeline.auditor.lost if pipeline.auditor else 0,
        shadow=slot.shadow.bundle if slot.shadow else None,
        duel=pipeline.shadow.ruling.verdict.figures
        if pipeline.shadow and pipeline.shadow.ruling
        else None,
    )


def _look(service: Service, what_if: WhatIfOf) -> APIRouter:
    router = APIRouter()

    @router.get("/state", summary="What every task is doing")
    async def state() -> dict[str, Any]:
        return {
            "draining": service.draining,
            "ledger_dropped": service.ledger.dropped,
            "tasks": {name: asdict(state_of(served)) for name, served in service.tasks.items()},
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

    @router.get("/books", summary="Money, bundles and events, for the page")
    async def books() -> Response:
        return Response(msgspec.json.encode(await worker.books()), media_type="application/json")

    return router


def _change(service: Service, load: Load) -> APIRouter:
    router = APIRouter()
    busy = asyncio.Lock()

    async def loaded(served: Served, bundle: str) -> Model:
        """Return the model of a bundle: the one that is loaded, else a new one."""
        known = served.pipeline.slot.loaded(bundle)
        if known is not None:
            return known
        if busy.locked():
            raise Conflict("Another bundle is being loaded; wait until it is there.")
        async with busy:
            return await asyncio.to_thread(load, served.task, bundle)

    router.include_router(candidate_routes(service, loaded, partial(_find, service), state_of))

    @router.post("/tasks/{name}/bundle", summary="Verify, load and swap in a bundle")
    async def swap(name: str, body: BundleBody) -> TaskState:
        served = _find(service, name)
        await _retire(served.pipeline.slot.swap(await loaded(served, body.bundle)))
        return state_of(served)

    @router.post("/tasks/{name}/rollback", summary="Let the bundle before answer again")
    async def rollback(name: str) -> TaskState:
        served = _find(service, name)
        served.pipeline.slot.rollback()
        return state_of(served)

    @router.post("/tasks/{name}/canary", summary="Let a bundle answer a share of the requests")
    async def canary(name: str, body: CanaryBody) -> TaskState:
        served = _find(service, name)
        served.pipeline.slot.may_be_canary(body.bundle)
        served.pipeline.slot.set_canary(await loaded(served, body.bundle), body.share)
        return state_of(served)

    @router.post("/tasks/{name}/canary/end", summary="Promote the canary, or take it away")
    async def end_canary(name: str, body: EndBody) -> TaskState:
        served = _find(service, name)
        await _retire(served.pipeline.slot.end_canary(promote=body.promote))
        return state_of(served)

    @router.put("/tasks/{name}/threshold", summary="Ask the teacher more often")
    async def threshold(name: str, body: ThresholdBody) -> TaskState:
        served = _find(service, name)
        served.pipeline.threshold = body.threshold
        return state_of(served)

    @router.put("/drain", summary="Become unready (still answering), or ready again")
    async def drain(body: DrainBody) -> dict[str, object]:
        service.draining = body.draining
        return {"draining": service.draining, "queue_depth": service.queue_depth()}

    return router


def _find(service: Service, name: str) -> Served:
    served = service.tasks.get(name)
    if served is None:
        raise UnknownModel(f"There is no task of that name; there are: {', '.join(service.tasks)}.")
    return served


async def _retire(model: Model | None) -> None:
    if model is not None:
        await model.retire()


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
