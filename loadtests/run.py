"""THE STORY of `raisehand loadtest`: check the generator → predict → run → compare → conclude."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from loadtests.errors import BadLoadSpec
from loadtests.generator.workers import run_load
from loadtests.inputs.request import Wanted
from loadtests.inputs.spec import LoadSpec
from loadtests.predict.prediction import (
    LoadProfile,
    Prediction,
    compare,
    fit,
    predict,
    read_profile,
)
from loadtests.report import terminal
from loadtests.report.figures_of_run import LoadReport
from loadtests.report.junit import junit
from loadtests.verdict import generator_limit as limit
from loadtests.verdict.conclusion import Conclusion, NullCheck, Repeat, moment, remember, versions
from loadtests.verdict.drift import drift_of
from loadtests.verdict.knee import find_knee
from loadtests.verdict.null_check import check_generator

OUT = Console(stderr=True)


def test(wanted: Wanted, spec: LoadSpec, at_start: Callable[[], None]) -> bool:
    """Run a load test, once or more, show and write what it found; return whether it passed."""
    null = _null_check(wanted, spec)
    prediction = _prediction(wanted, spec)
    reports = []
    for seed in range(spec.seed, spec.seed + wanted.repeats):
        again = spec.model_copy(update={"seed": seed})
        with terminal.progress_bar(again) as progress:
            report = run_load(again, wanted.slo, progress=progress, at_start=at_start)
        reports.append(_doubted(report, null))
    conclusion = _conclude(wanted, reports, null, prediction)
    terminal.show_conclusion(conclusion)
    write(wanted, conclusion)
    return conclusion.passed


def find(wanted: Wanted, spec: LoadSpec) -> bool:
    """Search the knee, show and write it; return whether there is one."""

    def run(each: LoadSpec) -> LoadReport:
        with terminal.progress_bar(each) as progress:
            return run_load(each, wanted.slo, progress=progress)

    knee = find_knee(spec, run, past=wanted.past, told=terminal.show_probe)
    terminal.show_knee(knee)
    if "json" in wanted.outputs:
        _write(wanted.outputs["json"], knee.model_dump_json(indent=2) + "\n")
    return knee.rate is not None and not knee.limited_by_generator


def fit_profile(wanted: Wanted, spec: LoadSpec) -> bool:
    """Measure the profile that predictions start from, and keep it beside the task's bundles."""
    assert wanted.task is not None
    with terminal.progress_bar(spec) as progress:
        profile = fit(spec, wanted.task, wanted.teacher, wanted.fit_at, progress=progress)
    _write(wanted.profile_path, profile.model_dump_json(indent=2) + "\n")
    OUT.print(
        f"A request occupies the router for {1e3 * profile.service_s:.3f} ms, "
        f"{profile.escalation_rate:.1%} escalate. Kept in {wanted.profile_path}"
    )
    return True


def predict_only(wanted: Wanted) -> bool:
    """Predict the run and show it.

    Raises:
        BadLoadSpec: there is no profile, or it was fitted on another teacher.
    """
    profile = read_profile(wanted.profile_path)
    if another := _another_teacher(wanted, profile):
        raise BadLoadSpec(another)
    prediction = predict(wanted.spec(), profile)
    terminal.show_prediction(prediction)
    if "json" in wanted.outputs:
        _write(wanted.outputs["json"], prediction.model_dump_json(indent=2) + "\n")
    return True


def write(wanted: Wanted, conclusion: Conclusion) -> None:
    """Write whatever was asked for: JSON, HTML, JUnit, a line of history."""
    if "json" in wanted.outputs:
        _write(wanted.outputs["json"], conclusion.model_dump_json(indent=2) + "\n")
    if "html" in wanted.outputs:
        from loadtests.report.page import page_of

        _write(wanted.outputs["html"], page_of(conclusion).html())
    if "junit" in wanted.outputs:
        _write(wanted.outputs["junit"], junit(conclusion))
    if "history" in wanted.outputs:
        remember(conclusion, wanted.outputs["history"])


def _prediction(wanted: Wanted, spec: LoadSpec) -> Prediction | None:
    """Predict where a profile was fitted on this teacher, and it does not fail on purpose."""
    faults = {"outages", "throttle_windows", "throttle_rate", "error_rate", "garbage_rate"}
    if faults & set(wanted.scenario.teacher) or not wanted.has_profile:
        return None
    profile = read_profile(wanted.profile_path)
    if another := _another_teacher(wanted, profile):
        OUT.print(f"not predicted: {another}")
        return None
    return predict(spec, profile)


def _another_teacher(wanted: Wanted, profile: LoadProfile) -> str | None:
    """Say that a profile tells nothing of the teacher of this run."""
    if profile.teacher in (None, wanted.teacher):
        return None
    return (
        f"the profile was fitted on {profile.teacher} and this run has {wanted.teacher}; --fit "
        "with the same --scenario or --own-teacher makes one for it"
    )


def _null_check(wanted: Wanted, spec: LoadSpec) -> NullCheck | None:
    """Try the generator where that is asked for, or where its limit is not known to be enough."""
    due = not limit.may_claim(spec) if wanted.null_check is None else wanted.null_check
    if not due:
        return None
    null = check_generator(spec)
    OUT.print(null.words)
    if null.passed and null.rate / spec.processes > (limit.remembered() or 0.0):
        limit.remember(null.rate / spec.processes)
    return null


def _doubted(report: LoadReport, null: NullCheck | None) -> LoadReport:
    """Believe no generator that failed the null check, or that is near its limit without one."""
    if null is not None:
        doubt = None if null.passed else null.words
    else:
        doubt = None if limit.may_claim(report.spec) else limit.refusal(report.spec)
    if doubt is None:
        return report
    return report.model_copy(
        update={"valid": False, "invalid_reasons": (*report.invalid_reasons, doubt)}
    )


def _conclude(
    wanted: Wanted,
    reports: list[LoadReport],
    null: NullCheck | None,
    prediction: Prediction | None,
) -> Conclusion:
    middle = sorted(reports, key=lambda r: r.latency_ms["all"].p99 or math.inf)[len(reports) // 2]
    return Conclusion(
        scenario=wanted.scenario.name,
        about=wanted.scenario.about.strip(),
        at=moment(),
        report=middle,
        repeats=tuple(map(Repeat.of, reports)) if len(reports) > 1 else (),
        null_server=null,
        comparison=compare(prediction, middle) if prediction else (),
        drift=drift_of(middle),
        versions=versions(),
    )


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
