"""OpenTelemetry, for those who have a collector: one server span for each request.

Off unless asked for; `pip install 'raisehand[otel]'`. Where spans go is said by the standard OTEL_*
variables. A span holds who answered and why, never a text, a key or a raw path. The request goes on
under the span: what the teacher is asked for it carries the span's `traceparent`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from router.errors import BadSettings
from router.http.observer import PROBES, name_of, values_of
from router.http.wire.head import Head
from router.http.wire.incoming import Request

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_ATTRIBUTES = {
    b"x-raisehand-route": "raisehand.route",
    b"x-raisehand-reason": "raisehand.reason",
    b"x-raisehand-bundle": "raisehand.bundle",
    b"x-raisehand-confidence": "raisehand.confidence",
    b"x-request-id": "raisehand.request_id",
}
_CARRIED = ("traceparent", "tracestate")


class Tracing:
    """Begins a span for each request; the caller's `traceparent` is the parent."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("raisehand")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: Request) -> _Traced | None:
        """Begin a span; probes have none, they would drown the rest."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        head = request.head
        if head.path in PROBES:
            return None
        known = {
            name: head.headers[name.encode()].decode("latin-1")
            for name in _CARRIED
            if name.encode() in head.headers
        }
        path = name_of(head.path)
        method = head.method if head.method.isalpha() else "_OTHER"
        span = self._tracer.start_span(
            f"{method} {path}",
            context=self._propagator.extract(known),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": path},
            record_exception=False,
        )
        carried: dict[str, str] = {}
        self._propagator.inject(carried, set_span_in_context(span))
        request.head = _under(head, carried)
        return _Traced(span)

    def close(self) -> None:
        """Send the spans that are still held."""
        self._provider.shutdown()


class _Traced:
    """The span of one request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, status: int, fields: bytes) -> None:
        """Say what the answer says of itself."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("http.response.status_code", status)
        for name, value in values_of(fields, tuple(_ATTRIBUTES)).items():
            self._span.set_attribute(_ATTRIBUTES[name], value)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))

    def over(self) -> None:
        """End it."""
        self._span.end()


def _under(head: Head, carried: dict[str, str]) -> Head:
    """Return a head whose trace headers are these."""
    fresh = {name.encode(): value.encode() for name, value in carried.items()}
    kept = tuple(pair for pair in head.pairs if pair[0].decode("latin-1") not in _CARRIED)
    others = {n: v for n, v in head.headers.items() if n.decode("latin-1") not in _CARRIED}
    return msgspec.structs.replace(head, pairs=kept + tuple(fresh.items()), headers=others | fresh)


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
