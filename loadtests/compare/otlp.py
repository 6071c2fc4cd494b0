"""Load tests as metrics, pushed by OTLP: a point for each interval, beside the server's own.

Where they go is said by the standard OTEL_EXPORTER_OTLP_* variables, as for the router's spans. An
OpenTelemetry collector takes them, and Prometheus from version 3 on (its OTLP receiver).
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.compare.points import labels_of, points_of
from loadtests.errors import BadLoadSpec, CannotWrite
from loadtests.verdict.conclusion import Conclusion

NANOSECONDS = 1_000_000_000


def push(conclusions: Sequence[Conclusion]) -> int:
    """Push the intervals of each test and its verdict; return how many points were sent.

    Raises:
        BadLoadSpec: the library is not installed.
        CannotWrite: nobody took them.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import (
            Gauge,
            Metric,
            MetricExportResult,
            MetricsData,
            NumberDataPoint,
            ResourceMetrics,
            ScopeMetrics,
        )
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    except ImportError:
        raise BadLoadSpec(
            "pushing needs OpenTelemetry's exporter: pip install 'raisehand[otel]'"
        ) from None
    points: dict[str, list[NumberDataPoint]] = {}
    for conclusion in conclusions:
        said = labels_of(conclusion)
        for name, at_s, value in points_of(conclusion):
            at = int(at_s * NANOSECONDS)
            found = points.setdefault(f"raisehand.loadtest.{name}", [])
            found.append(NumberDataPoint(said, at, at, value))
    metrics = [Metric(name, None, None, Gauge(found)) for name, found in points.items()]
    scope = ScopeMetrics(InstrumentationScope("raisehand.loadtest"), metrics, "")
    resource = Resource.create({"service.name": "raisehand-loadtest"})
    exporter = OTLPMetricExporter()
    sent = exporter.export(MetricsData([ResourceMetrics(resource, [scope], "")]))
    exporter.shutdown()
    if sent is not MetricExportResult.SUCCESS:
        raise CannotWrite(
            "the metrics were not taken; name a collector in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, "
            "e.g. http://127.0.0.1:4318/v1/metrics"
        )
    return sum(map(len, points.values()))
