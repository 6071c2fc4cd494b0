"""`raisehand bench faults`: what the student's path feels of a teacher that is dead, slow or mad.

One open loop of two kinds of texts: those of which the student is sure, whose latency is what is
asked about, and those of which it is not, which go to the teacher with a deadline. Each
fault is measured right beside a healthy teacher, several times, so that the box's own moods cancel
out.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.driving import WARM_UP_S, drive, metrics_of, write_texts
from loadtests.bench.options import CLIENT_CORE, CORE
from router.bench.process import python_subject, take_client_core
from router.errors import BadSettings

if TYPE_CHECKING:
    from loadtests.figures.load_report import LoadReport
    from loadtests.inputs.spec import LoadSpec
    from router.bench.process import Subject

FAULTS = ("dead", "hang", "slow", "throttle", "garbage", "truncated", "reset")
HEALTHY = "none"
DEADLINE_MS = 400.0
UNSURE = 0.2
"""Share of the texts below the threshold."""
PAUSE_S = 0.5
"""Between two measurements: what was in flight comes to its end."""
HEALED_S = 30.0
MIXED = 8_400
"""Texts of both kinds together, before one is repeated."""
SURE = ("student", "all")
"""Latencies that are not of unsure texts."""


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
    answers: Counter[str] = field(default_factory=Counter)
    """`ok`, or the kind of failure."""
    unnamed: int = 0
    """Answers that no metric counted, or the other way round."""


@click.command(name="faults", epilog="Example: raisehand bench faults --json")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=4.0, show_default=True, help="Of each measurement.")
@click.option("--rate", default=1_000.0, show_default=True, help="Sure texts a second.")
@click.option("--unsure-rate", default=50.0, show_default=True, help="Unsure texts a second.")
@CORE
@CLIENT_CORE
@JSON
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
    take_client_core(core, client_core)
    report = _measure(runs, seconds, rate, unsure_rate, core, client_core)
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


def _measure(
    runs: int, seconds: float, rate: float, unsure_rate: float, core: int, client_core: int
) -> dict[str, Any]:
    with TemporaryDirectory() as folder, _teacher(client_core) as teacher:
        ledger = Path(folder) / "ledger.sqlite"
        spec, threshold = _mixed(Path(folder), rate, unsure_rate)
        spec = spec.model_copy(update={"duration_s": seconds})
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
                        _settled(router.port)
                        into = felt[name] if run else Felt()  # the first run warms up
                        p99[name] = _load(router, spec, run, into)
                    if run:
                        felt[fault].p99_beside_ms.append(p99[HEALTHY])
        return _report(felt) | _retries(ledger) | {"load_average": os.getloadavg()[0]}


def _settled(port: int) -> None:
    """Wait until the throttle has forgotten the fault before."""
    deadline = time.monotonic() + HEALED_S
    time.sleep(PAUSE_S)
    while not re.search(r"(?m)^raisehand_teacher_refusal_ratio 0\.0$", metrics_of(port)):
        if time.monotonic() > deadline:
            raise BadSettings(f"the throttle is not closed after {HEALED_S:g} s without a request")
        time.sleep(PAUSE_S)


def _load(router: Subject, spec: LoadSpec, seed: int, felt: Felt) -> float:
    """Load once; return the p99 of the sure texts in milliseconds."""
    before = _counted(router.port)
    driven = drive([router], spec, seed=seed)
    _note(felt, driven.report, _counted(router.port) - before)
    return felt.p99_ms[-1]


def _note(felt: Felt, report: LoadReport, grown: Counter[tuple[str, str]]) -> None:
    sure = report.latency_ms.get("student")
    if sure is None or sure.p50 is None or sure.p99 is None:
        raise BadSettings("too few answers for a p99; raise --seconds or --rate")
    felt.p50_ms.append(round(sure.p50, 3))
    felt.p99_ms.append(round(sure.p99, 3))
    others = [latency.max for name, latency in report.latency_ms.items() if name not in SURE]
    slowest = max((found for found in others if found is not None), default=0.0)
    felt.late_ms.append(round(max(0.0, slowest - DEADLINE_MS), 1))
    felt.answers += Counter(report.failures) + Counter(ok=report.succeeded)
    named = 0
    for (metric, label), count in grown.items():
        if metric == "attempts":
            felt.attempts[label] += count
        else:
            felt.outcomes[label] += count
            named += count
    felt.unnamed += abs(named - report.sent - report.unmeasured_sent)


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
            "answers": dict(one.answers),
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


def _mixed(folder: Path, rate: float, unsure_rate: float) -> tuple[LoadSpec, float]:
    """Mix sure and unsure texts as their rates are; return the threshold between them, too."""
    import numpy as np

    from loadtests.inputs.spec import LoadSpec
    from router.bench.subject import make_student, make_task, make_texts

    texts = make_texts(4_000, seed=1)
    student = make_student(make_task("http://127.0.0.1:9", folder).schema_)
    confidences = np.array([p.confidence for p in student.predict(texts)])
    threshold = float(np.quantile(confidences, UNSURE))
    kinds: tuple[list[str], list[str]] = ([], [])
    for text, confidence in zip(texts, confidences.tolist(), strict=True):
        kinds[confidence < threshold].append(text)
    sure, unsure = map(itertools.cycle, kinds)
    mixed = []
    for i in range(MIXED):
        # Evenly, so that every stretch of the run has its share of both.
        share = unsure_rate / (rate + unsure_rate)
        mixed.append(next(unsure if int((i + 1) * share) > int(i * share) else sure))
    spec = LoadSpec(
        url="http://127.0.0.1:9",
        inputs=write_texts(folder / "texts.csv", mixed),
        order="sequential",
        rate=rate + unsure_rate,
        ask_within_ms=DEADLINE_MS,
        warmup_s=WARM_UP_S,
        abort="never",
    )
    return spec, threshold


def _counted(port: int) -> Counter[tuple[str, str]]:
    """Read the requests by route and reason, and the attempts by outcome."""
    text = metrics_of(port)
    counted: Counter[tuple[str, str]] = Counter()
    for labels, value in re.findall(r"(?m)^raisehand_requests_total\{(.*)\} (\S+)$", text):
        name = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        counted["requests", f"{name['route']}/{name['reason']}"] += int(float(value))
    for outcome, value in re.findall(
        r'(?m)^raisehand_teacher_attempts_total\{outcome="(\w+)"\} (\S+)$', text
    ):
        counted["attempts", outcome] += int(float(value))
    return counted


class _Teacher:
    """A running `router.bench.servers.teacher`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
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
