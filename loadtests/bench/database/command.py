"""`raisehand bench database`: what a shared ledger costs the requests, and how fast it is read.

A PostgreSQL of its own is started; when the throughput is measured it is killed, and how late the
router that has it answers is held beside the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.database.reading import measure_reading, reading_words
from loadtests.bench.database.serving import measure_serving, serving_words
from loadtests.bench.options import CLIENT_CORE, CONNECTIONS, CORE
from router.bench.process import take_client_core
from router.bench.servers.postgres import PostgresServer
from router.database.migrate import migrate


@click.command(name="database", epilog="Example: raisehand bench database --json")
@click.option("--rows", default=10_000_000, show_default=True, help="To read; 0: do not.")
@click.option("--runs", default=5, show_default=True, help="Turns of each kind of router; 0: none.")
@click.option("--seconds", default=4.0, show_default=True, help="Of each turn, at least.")
@CONNECTIONS
@CORE
@CLIENT_CORE
@JSON
def database(
    rows: int,
    runs: int,
    seconds: float,
    connections: int,
    core: int,
    client_core: int,
    as_json: bool,
) -> None:
    """Measure a ledger in PostgreSQL: requests a second, latency while it is dead, reading."""
    take_client_core(core, client_core)
    server = PostgresServer(shared_buffers="256MB", max_wal_size="4GB")
    report: dict[str, Any] = {}
    try:
        server.start()
        if runs:
            url = server.create()
            migrate(url)
            cores = (core, client_core)
            report["serving"] = measure_serving(
                url, server.cpu_seconds, server.kill, runs, seconds, connections, cores
            )
            server.start()
        if rows:
            url = server.create()
            migrate(url)
            report["reading"] = measure_reading(url, rows)
    finally:
        server.stop()
    report["load_average"] = os.getloadavg()[0]
    click.echo(json.dumps(report, indent=1) if as_json else "\n".join(_words(report)))


def _words(report: Mapping[str, Any]) -> list[str]:
    lines = serving_words(report["serving"]) if "serving" in report else []
    return lines + (reading_words(report["reading"]) if "reading" in report else [])
