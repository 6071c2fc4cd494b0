"""The routes that need not be fast: who is here, is it alive, is it ready, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request

from router.errors import Refusal, Unavailable, UnknownModel
from router.http.desk import error_body_of
from router.service.service import Service


def cold_routes(service: Service) -> APIRouter:
    """Build the routes of one service."""
    router = APIRouter()

    def listed() -> list[dict[str, object]]:
        owners = {served.task.teacher.model: "teacher" for served in service.tasks.values()}
        owners |= dict.fromkeys(service.tasks, "raisehand")
        return [
            {"id": name, "object": "model", "created": 0, "owned_by": owner}
            for name, owner in owners.items()
        ]

    @router.get("/v1/models", summary="The task names and teacher models one may ask for")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": listed()})

    @router.get("/v1/models/{name:path}", summary="One of them")
    async def model(name: str) -> JSONResponse:
        for one in listed():
            if one["id"] == name:
                return JSONResponse(one)
        raise UnknownModel(
            "There is no model of that name here; the models are: "
            f"{', '.join(str(one['id']) for one in listed())}."
        )

    @router.get("/healthz", summary="Liveness: the students' workers live and none hangs")
    async def healthz() -> JSONResponse:
        if not service.alive():
            raise Unavailable("A student's worker is dead or hangs; restart the router.")
        return JSONResponse({"status": "alive"})

    @router.get("/readyz", summary="Readiness: a real inference of every task, in time")
    async def readyz() -> JSONResponse:
        await service.ready()
        return JSONResponse({"status": "ready"} | _bundles(service))

    @router.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(await service.exposition.read(), media_type=CONTENT_TYPE_LATEST)

    return router


def _bundles(service: Service) -> dict[str, dict[str, str]]:
    """What answers; nothing where callers have keys, since a probe presents none."""
    if service.keys is not None:
        return {}
    tasks = service.tasks.items()
    return {"bundles": {name: served.pipeline.slot.current.bundle for name, served in tasks}}


async def refuse(request: Request, refusal: Exception) -> Response:
    """Turn a refusal of a cold route into JSON."""
    assert isinstance(refusal, Refusal)
    body = error_body_of(request.scope["path"])(refusal)
    headers = {"retry-after": f"{refusal.retry_after_s:.0f}"} if refusal.retry_after_s else {}
    return Response(body, refusal.status, headers, "application/json")


async def refuse_http(request: Request, error: Exception) -> Response:
    """Word Starlette's own refusals (no such path, wrong method) like ours."""
    status = getattr(error, "status_code", 500)
    headers = getattr(error, "headers", None)
    words = {
        404: "There is nothing at this path; see /docs for what there is.",
        405: "This path does not take this method; see /docs.",
    }
    refusal = Refusal(words.get(status, "The request is not taken."))
    refusal.kind = {404: "not_found_error", 405: "method_not_allowed"}.get(
        status, "invalid_request_error"
    )
    body = error_body_of(request.scope["path"])(refusal)
    return Response(body, status, headers, "application/json")
