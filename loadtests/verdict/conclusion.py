"""A run with all that belongs to it: scenario, prediction, the generator's own check, versions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from loadtests.figures.judging import Check
from loadtests.figures.load_report import LoadReport
from loadtests.figures.turning_points import TurningPoints
from loadtests.verdict.drift import SoakDrift

Verdict = Literal["PASS", "FAIL", "INVALID"]

HERE = Path(__file__).parent
"""The commit that counts is raisehand's, not that of the folder that somebody stands in."""


class NullCheck(BaseModel):
    """The generator against a server that does nothing, at 1.5 times the rate of the test."""

    model_config = ConfigDict(frozen=True)

    rate: float
    send_lag_p99_ms: float
    generator_cpu: float
    p99_ms: float
    passed: bool
    words: str


class PredictedFigure(BaseModel):
    """One figure, predicted before the run and measured in it."""

    model_config = ConfigDict(frozen=True)

    name: str
    predicted: float | None
    measured: float | None

    @property
    def error(self) -> float | None:
        """(predicted - measured) / measured."""
        if self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1.0


class Repeat(BaseModel):
    """One of several runs that differ in their seed alone."""

    model_config = ConfigDict(frozen=True)

    seed: int
    passed: bool
    valid: bool = True
    why: str
    """It did not pass."""
    invalid_reasons: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    goodput_rps: float
    p50_ms: float | None
    p99_ms: float | None
    escalation_rate: float | None

    @property
    def verdict(self) -> Verdict:
        """INVALID where the run does not count, whatever its limits."""
        return "INVALID" if not self.valid else "PASS" if self.passed else "FAIL"

    @classmethod
    def of(cls, report: LoadReport) -> Repeat:
        """Take the figures whose spread matters from a report."""
        return cls(
            seed=report.spec.seed,
            passed=report.passed,
            valid=report.valid,
            invalid_reasons=report.invalid_reasons,
            checks=report.checks,
            why="; ".join(report.faults),
            goodput_rps=report.goodput_rps,
            p50_ms=report.latency_ms["all"].p50,
            p99_ms=report.latency_ms["all"].p99,
            escalation_rate=report.escalation_rate,
        )


class Conclusion(BaseModel):
    """What the JSON report of a scenario holds.

    Of several runs `report` is the one with the middle p99; all of them must have passed.
    """

    model_config = ConfigDict(frozen=True)

    scenario: str
    about: str
    at: str
    target: str = ""
    """The URL, or the task and bundle that were served."""
    teacher: str = ""
    """Who answered what the student passed on."""
    outages: tuple[tuple[float, float], ...] = ()
    """Seconds of the window between which the teacher was made to fail."""
    planned_runs: int = 1
    """Fewer were made where the test ended before its time."""
    report: LoadReport
    repeats: tuple[Repeat, ...] = ()
    null_server: NullCheck | None = None
    comparison: tuple[PredictedFigure, ...] = ()
    drift: SoakDrift | None = None
    turns: TurningPoints = TurningPoints()
    """Where a ramp was too much, and how long an outage lasted on."""
    versions: Mapping[str, str] = {}

    @property
    def runs(self) -> tuple[Repeat, ...]:
        """Every run, also where it is the only one."""
        return self.repeats or (Repeat.of(self.report),)

    @property
    def missing(self) -> str:
        """Say that runs are missing; "" where all were made."""
        made = len(self.runs)
        return f"{made} of {self.planned_runs} runs were made" if made < self.planned_runs else ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """The one verdict that every output and the exit code tell.

        FAIL where a run that counts broke a limit: no other run can mend that. Otherwise INVALID
        where a run does not count or was not made, and PASS where all of them count and keep every
        limit.
        """
        found = {run.verdict for run in self.runs}
        if self.missing:
            found.add("INVALID")
        return "FAIL" if "FAIL" in found else "INVALID" if "INVALID" in found else "PASS"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether the verdict is PASS."""
        return self.verdict == "PASS"


def versions() -> dict[str, str]:
    """Return what was run, and where: packages, Python, machine, commit, GPU, pinned cores."""
    found = {
        name: importlib.metadata.version(name)
        for name in ("raisehand", "locust", "gevent", "httptools")
    }
    found["python"] = platform.python_version()
    found["machine"] = f"{_processor()}, {platform.system()} {platform.release()}"
    for name, command in {
        "commit": ["git", "rev-parse", "--short", "HEAD"],
        "gpu": ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
    }.items():
        try:
            done = subprocess.run(
                command, cwd=HERE, capture_output=True, text=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        found[name] = done.stdout.strip()
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < (os.cpu_count() or 1):
        ours = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        found["pinned"] = f"generator and fake teacher on core {ours} of {os.cpu_count()}"
    return found


def history_line(conclusion: Conclusion) -> str:
    """Return what is appended to the history, so that a prediction that drifts is seen."""
    report = conclusion.report
    line = {
        "at": conclusion.at,
        "scenario": conclusion.scenario,
        "verdict": conclusion.verdict,
        "passed": conclusion.passed,
        "valid": conclusion.verdict != "INVALID",
        "rate": report.spec.rate,
        "goodput_rps": report.goodput_rps,
        "achieved_rps": report.achieved_rps,
        "p50_ms": report.latency_ms["all"].p50,
        "p99_ms": report.latency_ms["all"].p99,
        "escalation_rate": report.escalation_rate,
        "runs": max(1, len(conclusion.repeats)),
        "errors": {each.name: each.error for each in conclusion.comparison},
        "commit": conclusion.versions.get("commit"),
    }
    return json.dumps(line) + "\n"


def moment() -> str:
    """Return the time, for the report."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
