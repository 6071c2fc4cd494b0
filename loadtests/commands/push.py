"""`raisehand loadtest push`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: raisehand loadtest push report.json")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
def push(paths: tuple[Path, ...]) -> None:
    """Push reports that --json wrote, or folders of them, as OpenTelemetry metrics (OTLP, HTTP).

    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT says where to; default http://localhost:4318/v1/metrics.
    """
    from loadtests.compare.otlp import push as push_all
    from loadtests.compare.results import read_results

    found = [conclusion for path in paths for conclusion in read_results(path)]
    click.echo(f"{push_all(found)} points of {len(found)} load tests were taken.")
