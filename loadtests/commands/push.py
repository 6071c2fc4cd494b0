"""`raisehand loadtest push`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: raisehand loadtest push report.json")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--remote-write", "url", help="Prometheus' own: http://127.0.0.1:9090/api/v1/write.")
def push(paths: tuple[Path, ...], url: str | None) -> None:
    """Push reports that --json wrote, or folders of them, as metrics, a point for each interval.

    By OpenTelemetry's protocol (OTLP, HTTP) to OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, by default
    http://localhost:4318/v1/metrics; or with --remote-write to a Prometheus.
    """
    from loadtests.compare.otlp import push as push_all
    from loadtests.compare.remote_write import remote_write
    from loadtests.compare.results import read_results

    found = [conclusion for path in paths for conclusion in read_results(path)]
    taken = push_all(found) if url is None else remote_write(found, url)
    click.echo(f"{taken} points of {len(found)} load tests were taken.")
