"""`raisehand bench encoder`: how much of an encoder's own speed is left behind HTTP.

The same bundle, the same texts, the same core: once called directly in batches, once behind the
router with one request for each text; and whether a text gets the same label alone, in a batch and
over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.driving import drive, write_texts
from loadtests.bench.options import CLIENT_CORE, CORE
from router.bench.process import python_subject, take_client_core
from students.bench.students import INPUTS, MODEL, TEXT, made_up, make_bundles, read_texts

if TYPE_CHECKING:
    from students.runtime.protocol import Student

BATCHES = (16, 32, 64, 256)
"""Texts of a direct call; the router is compared with the fastest of them."""
ALONE = 200
"""Texts that are answered one by one, too."""
_student: Student
"""The bundle, in the process that measures it directly."""


@click.command(name="encoder", epilog="Example: raisehand bench encoder --json")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Folder of an encoder's bundle; default: --model in int8, with a new head.",
)
@MODEL
@INPUTS
@TEXT
@click.option("--texts", "n_texts", default=1_024, show_default=True, type=click.IntRange(256))
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=10.0, show_default=True, help="Of each measurement.")
@click.option(
    "--connections",
    default=256,
    show_default=True,
    type=click.IntRange(1),
    help="Texts in flight, one each; the student alone gets 256 at once.",
)
@CORE
@CLIENT_CORE
@JSON
def encoder(
    bundle: Path | None,
    model: Path,
    inputs: Path | None,
    text: str,
    n_texts: int,
    runs: int,
    seconds: float,
    connections: int,
    core: int,
    client_core: int,
    as_json: bool,
) -> None:
    """Compare the router's goodput with the bare student's texts a second on the same core.

    A closed loop at the limit: every answer that counts came within the default deadline.
    """
    take_client_core(core, client_core)
    texts = read_texts(inputs, text, n_texts) if inputs else made_up(n_texts, seed=1).texts
    with ExitStack() as stack:
        if bundle is None:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            bundle = make_bundles(model, texts, folder)[1].path
        report = _measure(bundle, texts, runs, seconds, connections, core)
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


def _measure(
    bundle: Path, texts: Sequence[str], runs: int, seconds: float, connections: int, core: int
) -> dict[str, Any]:
    from loadtests.inputs.spec import LoadSpec

    bare: dict[int, list[float]] = {size: [] for size in BATCHES}
    routed, cpu_us, p99 = [], [], []
    failed = 0
    context = multiprocessing.get_context("spawn")
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, context, _own, (core, bundle)) as pool,
        python_subject("router.bench.servers.target", core, "--bundle", str(bundle)) as router,
    ):
        spec = LoadSpec(
            url="http://127.0.0.1:9",
            inputs=write_texts(Path(folder) / "texts.csv", texts),
            rate=1.0,
            warmup_s=0.5,
            duration_s=seconds,
            abort="never",
        )
        for _ in range(runs + 1):
            for size in BATCHES:
                each_s = seconds / len(BATCHES)
                bare[size].append(pool.submit(_speed, texts, size, each_s).result())
            driven = drive([router], spec, closed_loop=connections)
            failed += driven.unanswered
            routed.append(driven.rps)
            cpu_us.append(driven.cpu_us)
            p99.append(driven.answers_ms.p99)
        differ = asyncio.run(_labels_that_differ(router.port, pool, texts))
    best = max(BATCHES, key=lambda size: median(bare[size][1:]))
    ratios = [r / b for r, b in zip(routed[1:], bare[best][1:], strict=True)]
    return {
        "ratio": round(median(ratios), 3),
        "ratio_runs": [round(r, 3) for r in ratios],
        "router_texts_per_s": [round(r, 1) for r in routed[1:]],
        "bare_texts_per_s": [round(b, 1) for b in bare[best][1:]],
        "bare_batch": best,
        "bare_by_batch": {size: round(median(bare[size][1:]), 1) for size in BATCHES},
        "router_cpu_us_per_text": round(min(cpu_us[1:]), 1),
        "p99_ms": [p and round(p, 1) for p in p99[1:]],
        "failed": failed,
        "connections": connections,
        "texts": len(texts),
        **differ,
        "load_average": os.getloadavg()[0],
    }


async def _labels_that_differ(
    port: int, pool: ProcessPoolExecutor, texts: Sequence[str]
) -> dict[str, int]:
    """Compare labels alone with those in batches of 64, and those with the router's."""
    import aiohttp

    loop = asyncio.get_running_loop()
    alone = await loop.run_in_executor(pool, _labels, texts[:ALONE], 1)
    batched = await loop.run_in_executor(pool, _labels, texts, 64)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:

        async def ask(text: str) -> str:
            url = f"http://127.0.0.1:{port}/v1/classify"
            async with session.post(url, json={"text": text}) as response:
                label: str = (await response.json())["label"]
                return label

        routed = await asyncio.gather(*map(ask, texts))
    return {
        "labels_alone_compared": len(alone),
        "labels_alone_differ": sum(a != b for a, b in zip(alone, batched, strict=False)),
        "labels_routed_differ": sum(a != b for a, b in zip(routed, batched, strict=True)),
    }


def _own(core: int, bundle: Path) -> None:
    """Load the bundle into this process, on one core."""
    global _student
    from router.bench.servers.target import load

    os.sched_setaffinity(0, {core})
    os.environ["OMP_NUM_THREADS"] = "1"
    _student = load(bundle)


def _speed(texts: Sequence[str], size: int, seconds: float) -> float:
    """Texts a second of direct calls of `size` texts."""
    done, at, started = 0, 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        batch = texts[at : at + size]
        _student.predict(batch)
        done += len(batch)
        at = (at + size) % (len(texts) - size + 1)
    return done / spent


def _labels(texts: Sequence[str], size: int) -> list[str]:
    names = _student.schema.names
    batches = (texts[at : at + size] for at in range(0, len(texts), size))
    return [names[p.label] for batch in batches for p in _student.predict(batch)]


def _words(report: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"router {median(report['router_texts_per_s']):,.0f} texts/s, the student alone "
            f"{median(report['bare_texts_per_s']):,.0f} in batches of {report['bare_batch']}: "
            f"{report['ratio']:.0%} (runs: {report['ratio_runs']})",
            f"p99 at that limit with {report['connections']} clients: {report['p99_ms']} ms",
            f"labels that differ: {report['labels_alone_differ']} of "
            f"{report['labels_alone_compared']} alone and in batches, "
            f"{report['labels_routed_differ']} of {report['texts']} direct and over HTTP",
        ]
    )
