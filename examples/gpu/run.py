"""Texts a second of encoder students on a card: bare, then behind the real router, in one run.

    run.sh --out results --usd-per-hour 2.59

What matters most is measured first; when the time is nearly over the rest is cut, and the report
says what. Each step of the plan stands in `_plan`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import card  # noqa: E402
from encoders import BERT, MINILM, MODERN, TOYS, Kind, Student, make_student, real  # noqa: E402
from served import Served, carried, router  # noqa: E402
from servers import ServerError  # noqa: E402

from loadtests.errors import LoadTestsError  # noqa: E402
from loadtests.servers.cores import Cores, own_cores  # noqa: E402
from loadtests.verdict.knee import KneeProbe  # noqa: E402

LEFT_FOR_REPORT_S = 10.0
FIRST_GUESS_PER_S = 1000.0
"""Of a model that was not measured bare."""
PER_WORKER_PER_S = 6000.0
"""A worker's HTTP carries hardly more single texts: no use to begin the search above."""


@dataclass(frozen=True)
class Question:
    """One search: so many workers share one engine."""

    kind: Kind
    workers: int
    surface: str
    lengths: tuple[int, ...]


@dataclass
class Findings:
    """All that the report says."""

    settings: dict[str, Any]
    machine: Mapping[str, str]
    usd_per_hour: float | None
    price: str
    matrix_flops: float | None = None
    bare: list[dict[str, Any]] = field(default_factory=list)
    served: list[dict[str, Any]] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    """Left out because the time was over."""
    failed: dict[str, str] = field(default_factory=dict)
    spent_s: float = 0.0


class Clock:
    """The time that is left."""

    def __init__(self, budget_s: float) -> None:
        self._end, self._budget_s = time.monotonic() + budget_s, budget_s

    @property
    def left_s(self) -> float:
        """Seconds until the report has to be written."""
        return self._end - time.monotonic() - LEFT_FOR_REPORT_S

    @property
    def spent_s(self) -> float:
        """Seconds since the beginning."""
        return self._budget_s - (self._end - time.monotonic())


def main() -> None:
    """Measure and write; exit code 1 where a step failed, 2 where nothing could be begun."""
    options = _options()
    findings = measure(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(asdict(findings), indent=1) + "\n", "utf-8")
    from page import page_of

    (options.out / "gpu.html").write_text(page_of(asdict(findings)).html(), "utf-8")
    print(f"written to {options.out}/gpu.json and gpu.html after {findings.spent_s:.0f} s")
    for name in findings.cut:
        print(f"cut for lack of time: {name}")
    for name, why in findings.failed.items():
        print(f"failed: {name}: {why}")
    sys.exit(1 if findings.failed else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="tiny encoders: a trial of the script")
    parser.add_argument("--lengths", default="", help="tokens of a text; default 32,128,512")
    parser.add_argument("--workers", default="4,1,2", help="that share the engine, best first")
    parser.add_argument("--model", type=Path, action="append", help="folder of a real encoder, too")
    parser.add_argument("--only", action="append", help="of the encoders, by name; repeat it")
    parser.add_argument("--p99-ms", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each rate that is tried")
    parser.add_argument("--guess", type=float, help="texts/s to begin at; default: by the bare one")
    parser.add_argument("--runs", type=int, default=6, help="rates tried for a figure, at most")
    parser.add_argument("--max-send-lag-ms", type=float, default=5.0, help="of the generator")
    parser.add_argument("--budget-s", type=float, default=480.0, help="for everything together")
    parser.add_argument("--processes", type=int, help="of the generator; default: 3 of 8 cores")
    parser.add_argument("--usd-per-hour", type=float, help="default: the price list's, by card")
    options = parser.parse_args()
    if options.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            parser.error("torch sees no CUDA device here; use --device cpu --toy for a trial")
    written = options.lengths or ("8,16,32" if options.toy else "32,128,512")
    options.lengths = tuple(map(int, written.split(",")))
    options.workers = tuple(map(int, options.workers.split(",")))
    if options.model is None:
        options.model = [path.parent for path in sorted((HERE / "models").glob("*/config.json"))]
    return options


def measure(options: argparse.Namespace) -> Findings:
    """Carry out the plan as far as the time goes."""
    import os

    clock = Clock(options.budget_s)
    machine = card.machine()
    listed = card.price_per_hour(machine.get("card", ""))
    given = options.usd_per_hour
    findings = Findings(
        settings={k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        | {"model": [str(path) for path in options.model]},
        machine=machine,
        usd_per_hour=given if given is not None else listed and listed[0],
        price="as given" if given is not None else listed[1] if listed else "no price is known",
    )
    processes = options.processes or max(1, (os.cpu_count() or 1) * 3 // 8)
    findings.settings["processes"] = processes
    with tempfile.TemporaryDirectory(prefix="raisehand-gpu-") as name:
        run = _Run(options, findings, clock, Path(name), processes)
        for step, needs_s, act in _plan(options, run):
            if clock.left_s < needs_s:
                findings.cut.append(step)
                continue
            print(f"{clock.spent_s:4.0f} s  {step}", flush=True)
            try:
                act()
            except (ServerError, LoadTestsError, subprocess.SubprocessError) as error:
                findings.failed[step] = str(error)
                print(f"      failed: {error}", flush=True)
    findings.spent_s = clock.spent_s
    return findings


def _plan(options: argparse.Namespace, run: _Run) -> list[tuple[str, float, Callable[[], None]]]:
    """Return name, seconds that it takes at least, and what to do, the most important first."""
    small, *larger = TOYS if options.toy else (MINILM, BERT, MODERN)
    reals = [real(path) for path in options.model]
    best, *others = options.workers
    questions = [
        Question(small, best, "classify", options.lengths),
        *(Question(kind, best, "classify", options.lengths) for kind in larger),
        *(Question(small, n, "classify", options.lengths[:1]) for n in others),
        Question(small, best, "batch", options.lengths[:2]),
        *(Question(kind, best, "classify", options.lengths) for kind in reals),
    ]
    plan: list[tuple[str, float, Callable[[], None]]] = []
    bare_s, served_s = (15.0, 20.0) if options.toy else (40.0, 45.0)
    for asked in questions:
        name = asked.kind.name
        if options.only and name not in options.only:
            continue
        if all(not step.startswith(f"{name}, bare") for step, _, _ in plan):
            plan.append((f"{name}, bare", bare_s, lambda kind=asked.kind: run.bare(kind)))
        step = f"{name}, router, {asked.workers} workers, {asked.surface}"
        plan.append((step, served_s, lambda asked=asked: run.served(asked)))
    return plan


class _Run:
    """The steps of the plan."""

    def __init__(
        self,
        options: argparse.Namespace,
        findings: Findings,
        clock: Clock,
        folder: Path,
        processes: int,
    ) -> None:
        self._options, self._findings, self._clock = options, findings, clock
        self._folder, self._processes = folder, processes
        self._students: dict[str, Student] = {}

    def bare(self, kind: Kind) -> None:
        """Measure one encoder alone, in a process of its own."""
        student, options = self._student(kind), self._options
        command = [
            *(sys.executable, str(HERE / "bare.py"), str(student.bundle.path)),
            *("--device", options.device, "--p99-ms", str(options.p99_ms)),
            *("--lengths", ",".join(map(str, options.lengths))),
            *("--seconds", str(options.seconds / 2), "--runs", str(options.runs)),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=self._clock.left_s
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise ServerError(f"the bare model ended with {done.returncode}: {said[-1]}")
        device, *rows = map(json.loads, done.stdout.splitlines())
        self._findings.matrix_flops = device["matrix_flops"]
        for row in rows:
            self._findings.bare.append({"model": kind.name, **row} | self._derived(student, row))

    def served(self, asked: Question) -> None:
        """Start the router and search its limit at each length."""
        student = self._student(asked.kind)
        with (
            own_cores(self._processes) as cores,
            router(student, self._options.device, asked.workers, self._folder, cores) as url,
        ):
            for k, length in enumerate(asked.lengths):
                most_runs = self._runs_left(len(asked.lengths) - k)
                if most_runs < 1:
                    self._findings.cut.append(
                        f"{asked.kind.name}, router, {asked.workers} workers, {length} tokens"
                    )
                    continue
                found = self._search(student, asked, url, length, most_runs)
                row = asdict(found)
                self._findings.served.append(row | self._derived(student, row))
            self._findings.settings["server cores"] = self._shown(cores)

    def _search(
        self, student: Student, asked: Question, url: str, length: int, most_runs: int
    ) -> Served:
        bare = self._bare_rate(asked.kind, length)
        many = asked.surface == "batch"
        carries = PER_WORKER_PER_S * asked.workers * (4 if many else 1)
        return carried(
            student,
            url,
            length=length,
            surface=asked.surface,
            workers=asked.workers,
            guess=self._options.guess or min(0.6 * (bare or FIRST_GUESS_PER_S), carries),
            p99_ms=self._options.p99_ms,
            seconds=self._options.seconds,
            processes=self._processes,
            max_send_lag_ms=self._options.max_send_lag_ms,
            most_runs=most_runs,
            told=lambda probe: _say(length, asked.surface, probe),
        )

    def _runs_left(self, searches: int) -> int:
        """Return how many runs the next of so many searches may make; a start takes as long."""
        return min(
            self._options.runs, int(self._clock.left_s / searches / (2 * self._options.seconds + 2))
        )

    def _bare_rate(self, kind: Kind, length: int) -> float | None:
        for row in self._findings.bare:
            if row["model"] == kind.name and row["length"] == length:
                rate: float | None = row["texts_per_s"] or row["most_texts_per_s"]
                return rate
        return None

    def _derived(self, student: Student, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return what follows from a rate: tokens, share of the matrix speed, dollars."""
        rate, length = row["texts_per_s"], row["length"]
        peak, usd = self._findings.matrix_flops, self._findings.usd_per_hour
        flops = student.flops_per_token[length]
        return {
            "tokens_per_s": rate and rate * length,
            "roofline_share": rate * length * flops / peak if rate and peak else None,
            "usd_per_million": usd / 3600 / rate * 1e6 if rate and usd is not None else None,
        }

    def _student(self, kind: Kind) -> Student:
        if kind.name not in self._students:
            folder = self._folder / kind.name.replace(" ", "-")
            n_texts = 500 if self._options.toy else 2000
            self._students[kind.name] = make_student(kind, self._options.lengths, n_texts, folder)
        return self._students[kind.name]

    @staticmethod
    def _shown(cores: Cores | None) -> str:
        return "shared with the generator" if cores is None else ", ".join(map(str, sorted(cores)))


def _say(length: int, surface: str, probe: KneeProbe) -> None:
    p99 = "no p99" if probe.p99_ms is None else f"p99 {probe.p99_ms:.1f} ms"
    held = "holds" if probe.passed else f"does not hold: {probe.why}"
    print(f"        {length:4} tokens, {surface}: {probe.rate:,.0f} rps, {p99}, {held}", flush=True)


if __name__ == "__main__":
    main()
