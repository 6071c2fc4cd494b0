"""Predict before measuring: the cost model simulates the very schedule that will be sent.

`fit` makes short load tests at a few rates and hands their samples to `costmodel.fit.prediction`; a
prediction for another load is then compared with the run. A teacher that fails on purpose cannot
be predicted from a profile in which it did not.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from costmodel.fit.fitting import fit as fit_runs
from costmodel.fit.measured import read_samples
from costmodel.fit.prediction import predict as predict_workload
from costmodel.fit.router_profile import RouterProfile
from costmodel.inputs.workload import Lengths, Trace, Workload
from loadtests.errors import BadLoadSpec, GeneratorFailed
from loadtests.figures.load_report import LoadReport
from loadtests.generator.schedule import lay_out
from loadtests.inputs.difficulty import divide
from loadtests.inputs.rows import rows_of
from loadtests.inputs.shape import RateShape
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.taskfile import LoadTask
from loadtests.verdict.conclusion import PredictedFigure
from loadtests.workers.workers import LoadProgress, run_load

FITTED_S = 25.0
"""Of each load, in two parts."""
CLUMPS_CV = 2.0
"""Of the run that shows what a clump of requests waits for."""


class LoadProfile(RouterProfile):
    """A router's profile, with how often the hardest tenth of the inputs escalates."""

    hard_escalation: float | None = None
    easy_escalation: float | None = None
    teacher: str | None = None
    """Which teacher answered while it was fitted; None: not known."""


class RunPrediction(BaseModel):
    """Figures of a run that has not been made yet."""

    model_config = ConfigDict(frozen=True)

    p50_ms: float
    p99_ms: float
    achieved_rps: float
    escalation_rate: float
    usd_per_1k: float | None
    router_busy: float
    """Share of the router's one event loop."""
    felt_per_s: float
    """Mean over requests of how many came in the same second."""


def fit(
    spec: LoadSpec,
    task: LoadTask,
    teacher: str,
    rates: Sequence[float],
    *,
    progress: Callable[[LoadProgress], None] = lambda _: None,
) -> tuple[LoadProfile, BaseException | None]:
    """Measure `spec.url` at two rates or more, half a minute each, one in clumps too, and fit.

    The loads are played up and down again, half of each: a machine that becomes faster or slower
    meanwhile does so for all of them alike, and not for the high rates, as if they were the cause.

    Returns the profile, and what ended the measuring before the last rate: it is then fitted on
    the rates before.

    Raises:
        BadProfile: the target names no routes, or too few requests were answered.
        GeneratorFailed, KeyboardInterrupt: before two rates were measured.
    """
    parts: dict[tuple[float, float], list[str]] = {}
    ended: BaseException | None = None
    with tempfile.TemporaryDirectory(prefix="raisehand-fit-") as name:
        path = Path(name) / "samples.jsonl"
        loads = _runs(rates)
        for turn, load in enumerate([*loads, *reversed(loads)]):
            again = spec.model_copy(update={"seed": spec.seed + turn // len(loads)})
            try:
                run_load(fitted_load(again, *load, FITTED_S / 2, path), progress=progress)
            except (GeneratorFailed, KeyboardInterrupt) as error:
                if len(parts) < 2:
                    raise
                ended = error
                break
            parts.setdefault(load, []).append(path.read_text("utf-8"))
        runs = []
        for (rate, gap_cv), texts in parts.items():
            path.write_text("".join(texts), "utf-8")
            runs.append(read_samples(path, rate, len(texts) * FITTED_S / 2, gap_cv=gap_cv))
    lines = [line for texts in parts.values() for text in texts for line in text.splitlines()]
    samples: list[dict[str, object]] = [json.loads(line) for line in lines]
    fitted = fit_runs(
        runs,
        max_concurrency=task.teacher.max_concurrency,
        teacher_timeout_s=task.teacher.timeout_s,
        hedge=task.teacher.hedge,
        audit_rate=task.audit_rate,
    )
    hard, easy = _escalation_by_difficulty(samples)
    profile = LoadProfile(
        **fitted.model_dump(), hard_escalation=hard, easy_escalation=easy, teacher=teacher
    )
    return profile, ended


def fitted_load(
    spec: LoadSpec, rate: float, gap_cv: float, seconds: float, samples: Path
) -> LoadSpec:
    """Return a load of the kind that a profile is fitted on, against the target of `spec`."""
    steady = {
        "shape": RateShape(),
        "arrivals": "poisson" if gap_cv == 1 else "gamma",
        "cv": gap_cv,
        "trace": None,
        "time": None,
        "closed_loop": None,
        "hard_share": None,
    }
    update = {**steady, "rate": rate, "duration_s": seconds, "samples": samples}
    return spec.model_copy(update=update)


def _runs(rates: Sequence[float]) -> list[tuple[float, float]]:
    """Rates with the variation of their gaps: Poisson, and the middle one in clumps as well."""
    ordered = sorted(rates)
    return [*((rate, 1.0) for rate in ordered), (ordered[len(ordered) // 2], CLUMPS_CV)]


def predict(spec: LoadSpec, profile: LoadProfile) -> RunPrediction:
    """Simulate the schedule of `spec` on a router with this profile."""
    rows = rows_of(spec)
    if spec.hard_share is not None:
        profile = profile.model_copy(update={"escalation_rate": _mixed(spec.hard_share, profile)})
    with tempfile.TemporaryDirectory(prefix="raisehand-predict-") as name:
        trace = Path(name) / "schedule.csv"
        offsets = lay_out(spec, rows).offsets_s
        offsets = offsets[offsets >= 0]
        _write_trace(offsets, trace)
        workload = Workload(
            arrivals="replay",
            trace=Trace(path=trace, output_tokens=None),
            tokens=Lengths(mean=1),
        )
        rates = _rates_per_s(offsets)
        found = predict_workload(profile, workload, spec.duration_s, rates_per_s=rates)
    return RunPrediction(
        p50_ms=1000 * found.p50_s.mean,
        p99_ms=1000 * found.p99_s.mean,
        achieved_rps=found.answered_per_s.mean,
        escalation_rate=found.escalation_rate.mean,
        usd_per_1k=found.usd_per_1k.mean if found.usd_per_1k else None,
        router_busy=found.utilisation.mean,
        felt_per_s=float((rates**2).sum() / rates.sum()),
    )


def compare(prediction: RunPrediction, report: LoadReport) -> tuple[PredictedFigure, ...]:
    """Put the predicted figures beside the measured ones."""
    everything = report.latency_ms["all"]
    priced = report.succeeded - report.unpriced
    pairs: Sequence[tuple[str, float | None, float | None]] = (
        ("p50, ms", prediction.p50_ms, everything.p50),
        ("p99, ms", prediction.p99_ms, everything.p99),
        ("answers per second", prediction.achieved_rps, report.achieved_rps),
        ("escalation rate", prediction.escalation_rate, report.escalation_rate),
        (
            "USD per 1,000",
            prediction.usd_per_1k,
            1000 * float(report.cost_usd) / priced if priced else None,
        ),
    )
    return tuple(PredictedFigure(name=n, predicted=p, measured=m) for n, p, m in pairs)


def read_profile(path: Path) -> LoadProfile:
    """Read a profile that `--fit` or `raisehand profile` wrote.

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


def _escalation_by_difficulty(samples: list[dict[str, object]]) -> tuple[float, float]:
    """Return the escalated share of the least sure tenth and of all others."""
    known = [s for s in samples if s["failure"] is None and s["confidence"] is not None]
    asked = np.array([s["route"] != "student" for s in known], dtype=float)
    hard, easy = divide(np.array([float(str(s["confidence"])) for s in known]))
    return float(asked[hard].mean()), float(asked[easy].mean())


def _mixed(hard_share: float, profile: LoadProfile) -> float:
    if profile.hard_escalation is None or profile.easy_escalation is None:
        raise BadLoadSpec("this profile does not tell hard inputs from easy ones; remake it: --fit")
    return hard_share * profile.hard_escalation + (1 - hard_share) * profile.easy_escalation


def _write_trace(offsets_s: npt.NDArray[np.float64], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["TIMESTAMP", "ContextTokens"])
        writer.writerows((f"{at:.6f}", 1) for at in offsets_s)


def _rates_per_s(offsets_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how many requests come in each second."""
    return np.bincount(offsets_s.astype(int)).astype(float)
