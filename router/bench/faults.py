"""`raisehand bench faults`: what the student's path feels of a teacher that is dead, slow or mad.

Two streams of requests at once, open loop: texts of which the student is sure, whose latency is
what is asked about, and texts of which it is not, which go to the teacher with a deadline. Each
fault is measured right beside a healthy teacher, several times, so that the box's own moods cancel
out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from router.errors import BadSettings

if TYPE_CHECKING:
    from router.bench.load import BenchCounts

FAULTS = ("dead", "hang", "slow", "throttle", "garbage", "truncated", "reset")
HEALTHY = "none"
DEADLINE_MS = 400.0
UNSURE = 0.2
"""Share of the texts below the threshold."""
PAUSE_S = 0.5
"""Between two measurements: what was in flight comes to its end."""
HEALED_S = 30.0


@dataclass
class Felt:
    """What one kind of teacher did to the requests, over all runs."""

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    p99_beside_ms: list[float] = field(default_factory=list)
    """Of the healthy teacher measured in the same minute."""
    late_ms: list[float] = field(default_factory=list)
    """How long after its deadline the latest answer came, of each run; 0 when none did."""
    outcomes: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    unnamed: int = 0
    """Answers that no metric counted, or the other way round."""


@click.command(name="faults", epilog="Example: raisehand bench faults --json")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=4.0, show_default=True, help="Of each measurement.")
@click.option("--rate", default=1_000.0, show_default=True, help="Sure texts a second.")
@click.option("--unsure-rate", default=50.0, show_default=True, help="Unsure texts a second.")
@click.option("--core", default=0, show_default=True, help="Core of the router.")
@click.option("--client-core", default=1, show_default=True, help="Core of everything else.")
@click.option("--json", "as_json", is_flag=True)
def faults(
    runs: int,
    seconds: float,
    rate: float,
    unsure_rate: float,
    core: int,
    client_core: int,
    as_json: bool,
) -> None:
    """Break the teacher in seven ways and time the answers that do not need it."""
    import json

    import uvloop

    from router.bench.process import take_client_core

    take_client_core(core, client_core)
    report = uvloop.run(_measure(runs, seconds, rate, unsure_rate, core, client_core))
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


async def _measure(
    runs: int, seconds: float, rate: float, unsure_rate: float, core: int, client_core: int
) -> dict[str, Any]:
    from router.bench.process import python_subject

    with TemporaryDirectory() as folder, _teacher(client_core) as teacher:
        ledger = Path(folder) / "ledger.sqlite"
        sure, unsure, threshold = _requests(Path(folder))
        arguments = (
            *("--teacher", f"http://127.0.0.1:{teacher.port}"),
            *("--threshold", str(threshold), "--ledger", str(ledger)),
        )
        with python_subject("router.bench.servers.target", core, *arguments) as router:
            felt = {name: Felt() for name in (HEALTHY, *FAULTS)}
            for run in range(runs + 1):
                for fault in FAULTS:
                    # Whoever is second finds warmer caches: take turns.
                    pair = (HEALTHY, fault) if run % 2 else (fault, HEALTHY)
                    p99 = {}
                    for name in pair:
                        teacher.become(name)
                        await _settled(router.port)
                        into = felt[name] if run else Felt()  # the first run warms up
                        streams = (sure, rate), (unsure, unsure_rate)
                        p99[name] = await _load(router.port, streams, seconds, run, into)
                    if run:
                        felt[fault].p99_beside_ms.append(p99[HEALTHY])
        return _report(felt) | _retries(ledger) | {"load_average": os.getloadavg()[0]}


async def _settled(port: int) -> None:
    """Wait until the throttle has forgotten the fault before."""
    import asyncio

    deadline = asyncio.get_running_loop().time() + HEALED_S
    await asyncio.sleep(PAUSE_S)
    while not re.search(r"(?m)^raisehand_teacher_refusal_ratio 0\.0$", await _metrics(port)):
        if asyncio.get_running_loop().time() > deadline:
            raise BadSettings(f"the throttle is not closed after {HEALED_S:g} s without a request")
        await asyncio.sleep(PAUSE_S)


async def _load(
    port: int,
    streams: Sequence[tuple[Sequence[bytes], float]],
    seconds: float,
    seed: int,
    felt: Felt,
) -> float:
    """Load once; return the p99 of the sure texts in milliseconds."""
    import asyncio

    from router.bench.load import open_loop

    before = await _counted(port)
    sure, unsure = await asyncio.gather(
        *(
            open_loop(port, requests, rate=rate, seconds=seconds, connections=128, seed=seed)
            for requests, rate in streams
        )
    )
    after = await _counted(port)
    _note(felt, sure, unsure, after - before)
    return felt.p99_ms[-1]


def _note(
    felt: Felt, sure: BenchCounts, unsure: BenchCounts, grown: Counter[tuple[str, str]]
) -> None:
    felt.p50_ms.append(round(sure.quantile_ms(0.5), 3))
    felt.p99_ms.append(round(sure.quantile_ms(0.99), 3))
    slowest = max((*unsure.latencies, *unsure.refusals), default=0.0) * 1000
    felt.late_ms.append(round(max(0.0, slowest - DEADLINE_MS), 1))
    answered = sum(sure.statuses.values()) + sum(unsure.statuses.values())
    felt.statuses += sure.statuses + unsure.statuses
    named = 0
    for (metric, label), count in grown.items():
        if metric == "attempts":
            felt.attempts[label] += count
        else:
            felt.outcomes[label] += count
            named += count
    felt.unnamed += abs(named - answered)


def _report(felt: dict[str, Felt]) -> dict[str, Any]:
    report: dict[str, Any] = {"deadline_ms": DEADLINE_MS, "faults": {}}
    for name, one in felt.items():
        row: dict[str, Any] = {
            "p50_ms": median(one.p50_ms),
            "p99_ms": median(one.p99_ms),
            "p99_ms_runs": one.p99_ms,
            "late_ms": max(one.late_ms),
            "late_ms_runs": one.late_ms,
            "outcomes": dict(+one.outcomes),
            "attempts": dict(+one.attempts),
            "statuses": dict(one.statuses),
            "unnamed": one.unnamed,
        }
        if name != HEALTHY:
            ratios = [p / q for p, q in zip(one.p99_ms, one.p99_beside_ms, strict=True)]
            row["p99_ratio"] = round(median(ratios), 3)
            row["p99_ratio_runs"] = [round(r, 3) for r in ratios]
        report["faults"][name] = row
    return report


def _retries(ledger: Path) -> dict[str, Any]:
    """Compare the retries that were billed with what the retry budget allows."""
    from router.ledger.read import read_entries

    asked = [entry.attempts for entry in read_entries(ledger) if entry.attempts]
    return {
        "teacher_calls": len(asked),
        "retries": sum(asked) - len(asked),
        "retries_allowed": 3 + int(0.1 * len(asked)),
    }


def _requests(folder: Path) -> tuple[list[bytes], list[bytes], float]:
    """Requests of sure and of unsure texts, and the threshold between them."""
    import msgspec
    import numpy as np

    from router.bench.load import http_requests
    from router.bench.subject import make_student, make_task, make_texts

    texts = make_texts(4_000, seed=1)
    student = make_student(make_task("http://127.0.0.1:9", folder).schema_)
    confidences = np.array([p.confidence for p in student.predict(texts)])
    threshold = float(np.quantile(confidences, UNSURE))
    bodies: tuple[list[bytes], list[bytes]] = ([], [])
    for text, confidence in zip(texts, confidences.tolist(), strict=True):
        body = {"text": text, "deadline_ms": DEADLINE_MS}
        bodies[confidence < threshold].append(msgspec.json.encode(body))
    sure, unsure = (http_requests("/v1/classify", some) for some in bodies)
    return sure, unsure, threshold


async def _counted(port: int) -> Counter[tuple[str, str]]:
    """Read the requests by route and reason, and the attempts by outcome."""
    text = await _metrics(port)
    counted: Counter[tuple[str, str]] = Counter()
    for labels, value in re.findall(r"(?m)^raisehand_requests_total\{(.*)\} (\S+)$", text):
        name = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        counted["requests", f"{name['route']}/{name['reason']}"] += int(float(value))
    for outcome, value in re.findall(
        r'(?m)^raisehand_teacher_attempts_total\{outcome="(\w+)"\} (\S+)$', text
    ):
        counted["attempts", outcome] += int(float(value))
    return counted


async def _metrics(port: int) -> str:
    import aiohttp

    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        return await response.text()


class _Teacher:
    """A running `router.bench.servers.teacher`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        import json

        self._process = process
        self.port: int = json.loads(self._answer())["port"]

    def become(self, word: str) -> None:
        """Break it, or heal it."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def _teacher(core: int) -> Iterator[_Teacher]:
    command = ["taskset", "-c", str(core), sys.executable, "-m", "router.bench.servers.teacher"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield _Teacher(process)
    finally:
        process.kill()
        process.wait()


def _words(report: dict[str, Any]) -> str:
    rows = report["faults"]
    lines = [
        f"{'teacher':<10}{'p50 ms':>8}{'p99 ms':>8}{'ratio':>7}  {'runs':<16}{'late ms':>8}  "
        "what became of the unsure"
    ]
    for name, row in rows.items():
        ratios = row.get("p99_ratio_runs")
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""
        unsure = {k: v for k, v in row["outcomes"].items() if k != "student/confident"}
        lines.append(
            f"{name:<10}{row['p50_ms']:>8.2f}{row['p99_ms']:>8.2f}"
            f"{row.get('p99_ratio', 1.0):>7.2f}  {spread:<16}{row['late_ms']:>8.1f}  "
            + ", ".join(f"{k} {v}" for k, v in sorted(unsure.items(), key=lambda pair: -pair[1]))
        )
    unnamed = sum(row["unnamed"] for row in rows.values())
    lines.append(
        f"{report['retries']} retries of {report['teacher_calls']} calls (allowed: "
        f"{report['retries_allowed']}); answers that no metric names: {unnamed}"
    )
    return "\n".join(lines)
