"""The composition root: collaborators in, an application out.

FastAPI carries the documentation, the lifespan and the routes that need not be fast; the edge in
front of it answers the hot ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from router.api.chat import Chat
from router.api.classify import Classify
from router.api.decisions import SystemOne
from router.api.feedback import Feedback
from router.api.openapi import describe
from router.api.pass_on import PASSED_ON, PassOn
from router.api.probes import cold_routes, refuse, refuse_http
from router.api.responses.surface import Responses
from router.api.vllm_classify import VllmClassify
from router.errors import Refusal
from router.http.desk import Desk, native_error, openai_error
from router.http.edge import Edge
from router.http.hot_route import HotRoute
from router.http.key_gate import KeyGate
from router.process.following.steward import Steward
from router.service.service import Service


class RouterApp(FastAPI):
    """A FastAPI application behind an edge."""

    edge: Edge | KeyGate | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope, the hot routes without FastAPI's layers."""
        if self.edge is None or scope["type"] != "http":
            await super().__call__(scope, receive, send)
        else:
            await self.edge(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Describe every route, the hot ones too."""
        if not self.openapi_schema:
            self.openapi_schema = describe(super().openapi())
        return self.openapi_schema


def hot_routes(service: Service) -> dict[str, HotRoute]:
    """Return the routes that must be fast, by path."""
    passed = {f"/v1{path}": HotRoute(PassOn(service, path), openai_error) for path in PASSED_ON}
    return passed | {
        "/v1/classify": HotRoute(Classify(service), native_error),
        "/v1/chat/completions": HotRoute(Chat(service), openai_error),
        "/v1/feedback": HotRoute(Feedback(service), native_error),
        "/v1/responses": HotRoute(Responses(service), openai_error),
        "/v1/systemone": HotRoute(SystemOne(service), native_error),
        "/classify": HotRoute(VllmClassify(service), openai_error),
    }


def create_app(service: Service, steward: Steward | None = None) -> RouterApp:
    """Build the application of a service; the service starts and drains with it.

    With a steward it is where operators want it before its first request, and follows them.

    Where the service has keys, whoever presents none of them gets no further than the probes.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        await service.exposition.start()
        if steward is not None:
            await steward.start()
        try:
            yield
        finally:
            if steward is not None:
                await steward.close()
            await service.close()

    app = RouterApp(
        title="raisehand",
        version=version("raisehand"),
        description="The student answers; when it is not sure, the teacher does.",
        lifespan=lifespan,
        redirect_slashes=False,  # it would build an address from the Host header
        exception_handlers={Refusal: refuse, HTTPException: refuse_http},
    )
    app.include_router(cold_routes(service))
    turned_away = service.metrics.turned_away
    app.edge = Edge(
        hot_routes(service),
        super(RouterApp, app).__call__,
        service.clock,
        Desk(turned_away),
    )
    if service.keys is not None:
        app.edge = KeyGate(service.keys, app.edge, turned_away)
    return app
