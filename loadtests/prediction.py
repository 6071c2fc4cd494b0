"""Predict before measuring: the cost model simulates the very schedule that will be sent.

Two short runs at low rates are fitted (`fit`): what a request costs the router's process in CPU,
how long the student's and the teacher's answers take when nobody waits, how often inputs escalate,
what answers cost. The prediction adds queueing, which those runs had none of, and is compared with
runs that it was not fitted on.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from loadtests.conclusion import Line
from loadtests.difficulty import divide
from loadtests.errors import BadLoadSpec
from loadtests.report import LoadReport
from loadtests.rows import Row, read_rows
from loadtests.run import Progress, run_load
from loadtests.schedule import lay_out
from loadtests.shape import Shape
from loadtests.spec import LoadSpec
from loadtests.taskfile import LoadTask

LOW_RPS, LOW_S = 60.0, 25.0
HIGH_RPS, HIGH_S = 240.0, 12.0
QUANTILES = 101

Floats = npt.NDArray[np.float64]


class LoadProfile(BaseModel):
    """What a router does when nobody waits; fitted by two short load tests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str
    cpu_s: float
    """Seconds of CPU that one more request a second costs the router's process."""
    student_s: tuple[float, ...]
    """Evenly spaced quantiles of the student route's latency."""
    teacher_s: tuple[float, ...]
    """Evenly spaced quantiles of a teacher call."""
    escalation: float
    hard_escalation: float
    """Of the tenth of the inputs that the student is least sure of."""
    easy_escalation: float
    student_usd: float | None
    teacher_usd: float | None
    """Mean price of an answer on each route; None where answers are unpriced."""


class Prediction(BaseModel):
    """Figures of a run that has not been made yet."""

    model_config = ConfigDict(frozen=True)

    p50_ms: float
    p99_ms: float
    achieved_rps: float
    escalation_rate: float
    usd_per_1k: float | None
    router_cpu: float
    """Share of the router's one event loop that is busy."""


def fit(
    spec: LoadSpec, at: str, *, progress: Callable[[Progress], None] = lambda _: None
) -> LoadProfile:
    """Run the two fitting tests against `spec.url`; takes about 45 s.

    Raises:
        BadLoadSpec: the target names no routes, or cannot be watched because it runs elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="raisehand-fit-") as name:
        samples_path = Path(name) / "samples.jsonl"
        steady = {"shape": Shape(), "arrivals": "poisson", "trace": None, "hard_share": None}
        low = run_load(
            spec.model_copy(
                update={**steady, "rate": LOW_RPS, "duration_s": LOW_S, "samples": samples_path}
            ),
            progress=progress,
        )
        high = run_load(
            spec.model_copy(
                update={**steady, "rate": HIGH_RPS, "duration_s": HIGH_S, "samples": None}
            ),
            progress=progress,
        )
        samples = [json.loads(line) for line in samples_path.read_text().splitlines()]
    if "student" not in low.routes or not low.usage or not high.usage:
        raise BadLoadSpec(
            "a profile needs a router on this machine that names its routes; this target does not"
        )
    student = [s for s in samples if s["route"] == "student"]
    teacher = [s for s in samples if s["route"] == "teacher" and "teacher" in s["stages_ms"]]
    valid = [s for s in samples if s["failure"] is None and s["confidence"] is not None]
    hard, easy = divide(np.array([s["confidence"] for s in valid]))
    asked = np.array([s["route"] != "student" for s in valid])
    return LoadProfile(
        at=at,
        cpu_s=max(0.0, (_cores(high) - _cores(low)) / (high.achieved_rps - low.achieved_rps)),
        student_s=_quantiles(np.array([s["latency_ms"] for s in student]) / 1000),
        teacher_s=_quantiles(np.array([s["stages_ms"]["teacher"] for s in teacher] or [0]) / 1000),
        escalation=float(asked.mean()),
        hard_escalation=float(asked[hard].mean()),
        easy_escalation=float(asked[easy].mean()),
        student_usd=_mean_usd(student),
        teacher_usd=_mean_usd(teacher),
    )


def predict(spec: LoadSpec, profile: LoadProfile, task: LoadTask) -> Prediction:
    """Simulate the schedule of `spec` on a router with this profile.

    One server stands for the router's event loop; its service time is a request's CPU, and what
    else an answer takes is added without occupying it.
    """
    from costmodel.scenario import Scenario
    from costmodel.simulator import simulate

    rows = read_rows(spec.inputs, spec.text, spec.encoding)
    escalation = _escalation(spec, profile)
    with tempfile.TemporaryDirectory(prefix="raisehand-predict-") as name:
        trace = Path(name) / "schedule.csv"
        _write_trace(spec, rows, trace)
        scenario = Scenario.model_validate(
            {
                "name": "load test",
                "workload": {
                    "arrivals": "replay",
                    "trace": {"path": trace, "output_tokens": None},
                    "tokens": {"mean": 1},
                },
                "days": spec.duration_s / 86_400,
                "student": {
                    "fixed_s": 0.0,
                    "per_request_s": profile.cpu_s,
                    "per_token_s": 0.0,
                    "replicas": 1,
                    "max_batch": 1,
                    "queue_limit": 1024,
                    "overhead_s": [max(0.0, q - profile.cpu_s) for q in profile.student_s],
                },
                "policy": {
                    "escalation_rate": escalation,
                    "audit_rate": 0.0,
                    "deadline_s": spec.timeout_s,
                },
                "teacher": {
                    "kind": "api",
                    "latency_s": float(np.mean(profile.teacher_s)),
                    "noise": _noise(profile.teacher_s),
                    "max_concurrency": task.teacher.max_concurrency,
                    # The router lets as many wait as there are slots.
                    "pending_limit": 2 * task.teacher.max_concurrency,
                    "timeout_s": task.teacher.timeout_s,
                },
            }
        )
        result = simulate(scenario, seed=spec.seed)
    everything = result.routes["all"]
    return Prediction(
        p50_ms=1000 * everything.p50_s,
        p99_ms=1000 * everything.p99_s,
        achieved_rps=result.answered_per_s,
        escalation_rate=result.escalation_rate,
        usd_per_1k=_usd_per_1k(profile, result.counts["teacher"] / result.counts["requests"]),
        router_cpu=result.student_utilisation,
    )


def compare(prediction: Prediction, report: LoadReport) -> tuple[Line, ...]:
    """Put the predicted figures beside the measured ones."""
    everything = report.latency_ms["all"]
    priced = report.succeeded - report.unpriced
    per_1k = 1000 * float(report.cost_usd) / priced if priced else None
    cores = _cores(report) if report.usage else None
    return (
        Line(name="p50, ms", predicted=prediction.p50_ms, measured=everything.p50),
        Line(name="p99, ms", predicted=prediction.p99_ms, measured=everything.p99),
        Line(
            name="answers per second",
            predicted=prediction.achieved_rps,
            measured=report.achieved_rps,
        ),
        Line(
            name="escalation rate",
            predicted=prediction.escalation_rate,
            measured=report.escalation_rate,
        ),
        Line(name="USD per 1,000", predicted=prediction.usd_per_1k, measured=per_1k),
        Line(name="router, cores", predicted=prediction.router_cpu, measured=cores),
    )


def read_profile(path: Path) -> LoadProfile:
    """Read a stored profile.

    Raises:
        BadLoadSpec: there is none, or it is of another format.
    """
    try:
        return LoadProfile.model_validate_json(path.read_bytes())
    except OSError:
        raise BadLoadSpec(
            f"there is no load profile at {path}; make one with raisehand loadtest --fit"
        ) from None
    except ValidationError:
        raise BadLoadSpec(f"{path} is no load profile; remake it with --fit") from None


def _escalation(spec: LoadSpec, profile: LoadProfile) -> float:
    if spec.hard_share is None:
        return profile.escalation
    hard = spec.hard_share
    return hard * profile.hard_escalation + (1 - hard) * profile.easy_escalation


def _write_trace(spec: LoadSpec, rows: list[Row], path: Path) -> None:
    offsets = lay_out(spec, rows).offsets_s
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["TIMESTAMP", "ContextTokens"])
        writer.writerows((f"{at:.6f}", 1) for at in offsets[offsets >= 0])


def _usd_per_1k(profile: LoadProfile, asked: float) -> float | None:
    if profile.student_usd is None or (asked > 0 and profile.teacher_usd is None):
        return None
    return 1000 * ((1 - asked) * profile.student_usd + asked * (profile.teacher_usd or 0.0))


def _mean_usd(samples: list[dict[str, object]]) -> float | None:
    usd = [float(str(s["cost_usd"])) for s in samples if s["cost_usd"] is not None]
    return float(np.mean(usd)) if usd else None


def _cores(report: LoadReport) -> float:
    inside = [u.cpu for u in report.usage if 0 <= u.at_s <= report.spec.duration_s]
    return float(np.mean(inside)) if inside else 0.0


def _quantiles(seconds: Floats) -> tuple[float, ...]:
    return tuple(np.quantile(seconds, np.linspace(0, 1, QUANTILES)).tolist())


def _noise(quantiles: tuple[float, ...]) -> dict[str, object]:
    if len(quantiles) < 2 or quantiles[-1] == quantiles[0]:
        return {"kind": "constant"}
    return {"kind": "measured", "quantiles": list(quantiles)}
