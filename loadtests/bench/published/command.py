"""`raisehand bench published`: the router's published figures by the load harness, in one go."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from loadtests.bench.harness import measure_harness
from loadtests.bench.options import CLIENT_CORE, CONNECTIONS, CORE
from loadtests.bench.published.page import page_of_published
from loadtests.bench.rates.router import PEER, measure_router
from loadtests.bench.soak import measure_soak
from router.bench.process import take_client_core

SOAK_SHARE = 0.7
"""Of the knee."""


@click.command(epilog="Example: raisehand bench published --out docs/benchmarks")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
@click.option("--soak-minutes", default=3.0, show_default=True, help="0: no soak.")
@CONNECTIONS
@CORE
@CLIENT_CORE
@click.option("--peer", type=click.Path(path_type=Path), default=PEER, show_default=True)
@click.option(
    "--beside",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `bench router --json` of another checkout printed, shown beside.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write router.json and its page, router.md, into this folder; default: print the JSON.",
)
def published(
    runs: int,
    seconds: float,
    soak_minutes: float,
    connections: int,
    core: int,
    client_core: int,
    peer: Path,
    beside: Path | None,
    out: Path | None,
) -> None:
    """Measure generator, router, knee, overload and soak one after the other; about 15 minutes.

    The generator's limit comes first: what is asked of it later may not exceed 70 % of it.
    """
    found: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load_average_before": os.getloadavg()[0],
        "harness": measure_harness(4_000.0, max(2.0, seconds), runs, 5.0),
    }
    take_client_core(core, client_core)
    found["router"] = measure_router(runs, seconds, connections, core, client_core, peer, True)
    knee = found["router"]["knee_rps"]
    if soak_minutes and knee:
        found["soak"] = measure_soak(soak_minutes, SOAK_SHARE * knee, 0.0, core)
    if beside is not None:
        found["beside"] = json.loads(beside.read_text(encoding="utf-8"))
    written = json.dumps(found, indent=1) + "\n"
    if out is None:
        click.echo(written, nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "router.json").write_text(written, encoding="utf-8")
    (out / "router.md").write_text(page_of_published(found), encoding="utf-8")
    click.echo(f"{out / 'router.json'} and {out / 'router.md'} are written.")
