"""THE STORY of `raisehand loadtest`: check the generator → predict → run → compare → conclude."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from loadtests.compare.comparison import compare_runs
from loadtests.compare.page import comparison_page
from loadtests.compare.shown import show_load_comparison
from loadtests.errors import BadLoadSpec, CannotWrite, GeneratorFailed
from loadtests.figures.load_report import LoadReport
from loadtests.figures.turning_points import judged_with, turning_points
from loadtests.inputs.request import Wanted
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec, load_spec
from loadtests.predict.prediction import (
    LoadProfile,
    RunPrediction,
    compare,
    fit,
    predict,
    read_profile,
)
from loadtests.report import files, terminal
from loadtests.report.junit import junit
from loadtests.report.knee_page import knee_page
from loadtests.report.page import page_of
from loadtests.verdict.conclusion import (
    Conclusion,
    NullCheck,
    Repeat,
    history_line,
    moment,
    versions,
)
from loadtests.verdict.drift import drift_of
from loadtests.verdict.knee import KneeSearch
from loadtests.verdict.null_check import believable_run, doubted, null_check_of
from loadtests.workers.cut_short import GeneratorDied, RunInterrupted
from loadtests.workers.workers import run_load

OUT = Console(stderr=True)


def test(wanted: Wanted, spec: LoadSpec, at_start: Callable[[], None]) -> bool:
    """Run a load test, once or more, show and write what it found; return whether it passed.

    Raises:
        CannotWrite: before the run, or after it and after all that could be written.
        GeneratorFailed, KeyboardInterrupt: after what was measured until then was written.
    """
    files.check(wanted.outputs)
    null = null_check_of(spec, wanted.null_check, OUT.print)
    prediction = _prediction(wanted, spec)
    reports: list[LoadReport] = []
    ended: GeneratorFailed | KeyboardInterrupt | None = None
    for seed in range(spec.seed, spec.seed + wanted.repeats):
        again = spec.model_copy(update={"seed": seed})
        try:
            with terminal.progress_bar(again) as progress:
                report = run_load(again, wanted.slo, progress=progress, at_start=at_start)
        except (GeneratorFailed, KeyboardInterrupt) as error:
            ended = error
            if isinstance(error, GeneratorDied | RunInterrupted):
                reports.append(error.report)
            break
        reports.append(judged_with(doubted(report, null), wanted.slo, wanted.outages))
    if not reports:
        assert ended is not None
        raise ended
    conclusion = _conclude(wanted, reports, null, prediction)
    terminal.show_conclusion(conclusion)
    troubles = write(wanted, conclusion)
    if isinstance(ended, KeyboardInterrupt):
        ended = KeyboardInterrupt(_so_far(reports))
    _end(troubles, ended)
    return conclusion.passed


def _so_far(reports: list[LoadReport]) -> str:
    """Say what became of an interrupted test."""
    last = reports[-1]
    return (
        f"Interrupted after {last.measured_s:.0f} of {last.spec.duration_s:g} s. What was measured "
        "is reported, as INVALID; a load test cannot go on where it stopped, run it again."
    )


def find(wanted: Wanted, spec: LoadSpec) -> bool:
    """Search the knee, show and write it; return whether there is one and it is the server's.

    Raises:
        CannotWrite: before the search, or after it and after all that could be written.
        GeneratorFailed, KeyboardInterrupt: after what was found until then was written.
    """
    files.check(wanted.outputs)

    def run(each: LoadSpec, slo: Slo) -> LoadReport:
        with terminal.progress_bar(each) as progress:
            return run_load(each, slo, progress=progress)

    search = KneeSearch(
        spec,
        believable_run(wanted.slo, run, wanted.null_check, OUT.print),
        slo=wanted.slo,
        repeats=wanted.confirm,
        most_runs=wanted.most_runs,
        past=wanted.past,
        told=terminal.show_probe,
    )
    knee = search.find()
    terminal.show_knee(knee)
    about = f"{wanted.scenario.name}: {spec.arrivals} arrivals on {spec.surface} of {spec.url}."
    forms: dict[str, Callable[[], str]] = {
        "json": lambda: knee.model_dump_json(indent=2) + "\n",
        "html": lambda: knee_page(knee, about).html(),
    }
    _end(files.write_all(wanted.outputs, forms), search.broken_off)
    return knee.rate is not None and knee.ended_by == "tolerance"


def against(wanted: Wanted, spec: LoadSpec) -> bool:
    """Test two servers in turns, A B B A …, compare them, show and write it.

    Raises:
        CannotWrite: before the test, or after it and after all that could be written.
        GeneratorFailed, KeyboardInterrupt: after the turns that both had were written.
    """
    assert wanted.against is not None
    files.check(wanted.outputs)
    null = null_check_of(spec, wanted.null_check, OUT.print)
    found: list[tuple[str, list[LoadReport]]] = [(spec.url, []), (wanted.against, [])]
    ended: GeneratorFailed | KeyboardInterrupt | None = None
    try:
        for k, seed in enumerate(range(spec.seed, spec.seed + wanted.repeats)):
            for url, reports in reversed(found) if k % 2 else found:
                each = load_spec(**{**spec.model_dump(), "url": url, "seed": seed})
                with terminal.progress_bar(each) as progress:
                    reports.append(doubted(run_load(each, wanted.slo, progress=progress), null))
    except (GeneratorFailed, KeyboardInterrupt) as error:
        if not all(reports for _, reports in found):
            raise
        ended = error
    turns = min(len(reports) for _, reports in found)
    a, b = (
        _conclude(replace(wanted, url=url), reports[:turns], null, None) for url, reports in found
    )
    compared = compare_runs([a], [b])
    show_load_comparison(compared)
    whole = {"comparison": compared, "a": a, "b": b}
    forms: dict[str, Callable[[], str]] = {
        "json": lambda: json.dumps({k: v.model_dump(mode="json") for k, v in whole.items()}) + "\n",
        "html": lambda: comparison_page(compared).html(),
    }
    if isinstance(ended, KeyboardInterrupt):
        ended = KeyboardInterrupt(
            f"Interrupted after {turns} of {wanted.repeats} turns of both, which are reported."
        )
    _end(files.write_all(wanted.outputs, forms), ended)
    return compared.passed


def _end(troubles: list[str], ended: BaseException | None) -> None:
    """End a command as what broke it off does, or else as files that cannot be written do."""
    if ended is not None:
        for trouble in troubles:
            OUT.print(trouble)
        raise ended
    if troubles:
        raise CannotWrite("; ".join(troubles))


def fit_profile(wanted: Wanted, spec: LoadSpec) -> bool:
    """Measure the profile that predictions start from, and keep it beside the task's bundles."""
    assert wanted.task is not None
    files.check({"profile": wanted.profile_path})
    with terminal.progress_bar(spec) as progress:
        profile, ended = fit(spec, wanted.task, wanted.teacher, wanted.fit_at, progress=progress)
    files.write(wanted.profile_path, profile.model_dump_json(indent=2) + "\n")
    OUT.print(
        f"A request occupies the router for {1e3 * profile.service_s:.3f} ms, "
        f"{profile.escalation_rate:.1%} escalate. Kept in {wanted.profile_path}"
    )
    if ended is not None:
        done, asked = len(profile.fitted_on), len(wanted.fit_at)
        OUT.print(f"It is fitted on {done} of {asked} rates: what came after was cut short.")
        raise ended
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
        files.write(wanted.outputs["json"], prediction.model_dump_json(indent=2) + "\n")
    return True


def write(wanted: Wanted, conclusion: Conclusion) -> list[str]:
    """Write whatever was asked for (JSON, HTML, JUnit, a line of history); say what cannot be."""
    forms: dict[str, Callable[[], str]] = {
        "json": lambda: conclusion.model_dump_json(indent=2) + "\n",
        "html": lambda: page_of(conclusion).html(),
        "junit": lambda: junit(conclusion),
        "history": lambda: history_line(conclusion),
    }
    return files.write_all(wanted.outputs, forms, adds="history")


def _prediction(wanted: Wanted, spec: LoadSpec) -> RunPrediction | None:
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


def _conclude(
    wanted: Wanted,
    reports: list[LoadReport],
    null: NullCheck | None,
    prediction: RunPrediction | None,
) -> Conclusion:
    whole = [report for report in reports if report.cut is None] or reports
    middle = sorted(whole, key=lambda r: r.latency_ms["all"].p99 or math.inf)[len(whole) // 2]
    return Conclusion(
        scenario=wanted.scenario.name,
        about=wanted.scenario.about.strip(),
        at=moment(),
        target=wanted.target,
        teacher=wanted.teacher,
        outages=wanted.outages,
        planned_runs=wanted.repeats,
        report=middle,
        repeats=tuple(map(Repeat.of, reports)) if wanted.repeats > 1 else (),
        null_server=null,
        comparison=compare(prediction, middle) if prediction else (),
        drift=drift_of(middle),
        turns=turning_points(middle, wanted.slo, wanted.outages),
        versions=versions(),
    )
