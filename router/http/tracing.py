"""OpenTelemetry, for those who have a collector: one server span for each request.

Off unless asked for; `pip install 'raisehand[otel]'`. Where spans go is said by the standard OTEL_*
variables. A span holds who answered and why, never a text, a key or a raw path.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from router.errors import BadSettings
from router.http.edge import App, Message, Receive, Send

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

KNOWN = frozenset(
    {"/v1/classify", "/v1/chat/completions", "/v1/systemone", "/v1/models", "/metrics"}
)
"""Paths that are span names; probes are not traced, whatever else is `other`."""
_PROBES = frozenset({"/healthz", "/readyz"})
_ATTRIBUTES = {
    b"x-raisehand-route": "raisehand.route",
    b"x-raisehand-reason": "raisehand.reason",
    b"x-raisehand-bundle": "raisehand.bundle",
    b"x-raisehand-confidence": "raisehand.confidence",
    b"x-request-id": "raisehand.request_id",
}


class Traced:
    """Wraps an ASGI application in spans; the caller's `traceparent` is the parent."""

    def __init__(self, app: App, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._provider = provider
        self._tracer = provider.get_tracer("raisehand")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one ASGI scope; spans still held are sent when the server stops."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            self._provider.shutdown()
        elif scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
        else:
            await self._traced(scope, receive, send)

    async def _traced(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        path = scope["path"] if scope["path"] in KNOWN else "other"
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        with self._tracer.start_as_current_span(
            f"{scope['method']} {path}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "http.route": path},
            record_exception=False,
        ) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    for name, value in message["headers"]:
                        if name in _ATTRIBUTES:
                            span.set_attribute(_ATTRIBUTES[name], value.decode("latin-1"))
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self._app(scope, receive, sending)


def open_provider() -> TracerProvider:
    """Return a provider that exports over OTLP/HTTP as the OTEL_* variables say.

    Raises:
        BadSettings: the extra is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise BadSettings("--trace needs OpenTelemetry: pip install 'raisehand[otel]'") from None
    name = os.environ.get("OTEL_SERVICE_NAME", "raisehand")
    resource = Resource.create({SERVICE_NAME: name})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
