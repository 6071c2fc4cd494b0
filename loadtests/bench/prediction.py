"""`raisehand bench prediction`: the simulator against the router, over the same arrivals.

One router and one fake teacher: a profile is fitted at rates that no scenario has, then each
scenario is predicted, played, and the two are put side by side. Right after it the fitted load that
is nearest is played again: how far that moved is the machine's doing, and no model's.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from costmodel.extras import require
from loadtests.errors import BadLoadSpec
from loadtests.servers.cores import own_cores

if TYPE_CHECKING:
    from loadtests.inputs.request import Wanted
    from loadtests.inputs.spec import LoadSpec
    from loadtests.predict.prediction import LoadProfile
    from loadtests.servers.stack import Stack

SCENARIOS = ("peak", "burst", "hard-flood")
MOST_OFF = 0.10
"""A figure further off than this part of what was measured is named."""
PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class ScenarioFigure:
    """One figure of one scenario: the mean over its runs, and how far these lie apart."""

    scenario: str
    name: str
    predicted: float | None
    measured: float | None
    least: float | None
    most: float | None
    machine: float = 1.0
    """Slowness of the machine in the fit, in parts of that beside this run; 1: not known."""

    @property
    def off(self) -> float | None:
        """(predicted - measured) / measured; None where one of them is not known."""
        if self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1.0

    @property
    def word(self) -> str:
        """`within` the limit, or else what explains it: the runs' own scatter, or the machine."""
        if self.off is None or self.predicted is None or self.least is None or self.most is None:
            return "unknown"
        if abs(self.off) <= MOST_OFF:
            return "within"
        if self.least <= self.predicted <= self.most:
            return "scatter"
        return "machine" if abs((1 + self.off) / self.machine - 1) <= MOST_OFF else "OFF"


@dataclass(frozen=True, slots=True)
class FittedAgain:
    """A load that was fitted, played once more beside a scenario: the student's p50 in ms."""

    scenario: str
    per_second: float
    then_ms: float
    again_ms: float

    @property
    def machine(self) -> float:
        """How much slower the machine was in the fit: 1.2 is a fifth."""
        return self.then_ms / self.again_ms


@click.command(
    name="prediction", epilog="Example: raisehand bench prediction --task task.yaml --json p.json"
)
@click.option("--task", type=PATH, required=True, help="A task with a bundle and labels.")
@click.option("--scenario", "names", multiple=True, help="Default: peak, burst, hard-flood.")
@click.option("--runs", default=1, show_default=True, type=click.IntRange(1), help="Of each.")
@click.option("--duration", type=float, help="Seconds of a run; default: the scenario's own.")
@click.option("--fit-at", multiple=True, type=float, help="Rates to fit at; default: four.")
@click.option("--json", "json_path", type=PATH, help="Also write all of it as JSON.")
def prediction(
    task: Path, names: tuple[str, ...], runs: int, duration: float | None,
    fit_at: tuple[float, ...], json_path: Path | None,
) -> None:  # fmt: skip
    """Play the served router and the simulator through the same arrivals, side by side.

    p50, p99, throughput, escalation and dollars of each scenario: predicted before the run, then
    measured. Prints Markdown, and what a load of the fit shows when it is played again beside
    each scenario. Exit code 1: a figure is off by more than 10 %, by more than the runs differ
    among themselves, and a p50 by more than the machine itself became faster or slower.
    """
    require("loadtests")
    options: dict[str, Any] = {"task": task, "fit": True} | ({"fit_at": fit_at} if fit_at else {})
    if duration is not None:
        options["duration_s"] = duration
    found, beside, profile, doubts = measure(options, names or SCENARIOS, runs)
    if json_path is not None:
        told = {"figures": [asdict(one) | {"off": one.off, "word": one.word} for one in found],
                "fitted_again": [asdict(one) for one in beside], "profile": profile,
                "doubts": doubts}  # fmt: skip
        json_path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    click.echo(as_markdown(found))
    click.echo("\n" + machine_markdown(beside))
    for doubt in doubts:
        click.echo(f"This run does not count: {doubt}")
    if doubts or any(one.word == "OFF" for one in found):
        raise click.exceptions.Exit(1)


def measure(
    options: dict[str, Any], names: Sequence[str], runs: int
) -> tuple[list[ScenarioFigure], list[FittedAgain], dict[str, Any], list[str]]:
    """Fit on one stack, then predict and play each scenario on it.

    Returns:
        The figures, fitted loads played again, the profile, and why the load tests say that some
        run does not count.

    Raises:
        BadLoadSpec: the scenarios want different teachers, or one that fails on purpose.
        BadProfile: too few requests were answered to fit anything.
    """
    from loadtests.inputs.request import wanted_of
    from loadtests.predict.prediction import compare, fit, predict
    from loadtests.report import terminal
    from loadtests.workers.workers import run_load

    wanted = [wanted_of({**options, "scenario": name}) for name in names]
    first = wanted[0]
    if any(one.scenario.teacher != first.scenario.teacher for one in wanted):
        raise BadLoadSpec(
            f"{', '.join(names)} have teachers that differ; one profile is of one teacher: give "
            "them one at a time"
        )
    assert first.task is not None
    found: list[ScenarioFigure] = []
    beside: list[FittedAgain] = []
    doubts: list[str] = []
    with _stack(first) as stack:
        spec = first.spec(stack.url)
        click.echo(f"fitting at {', '.join(f'{rate:g}' for rate in first.fit_at)}/s", err=True)
        with terminal.progress_bar(spec) as progress:
            profile, ended = fit(spec, first.task, first.teacher, first.fit_at, progress=progress)
        if ended is not None:
            raise ended
        for one in wanted:
            pairs = []
            for seed in range(runs):
                spec = one.spec(stack.url).model_copy(update={"seed": seed})
                predicted = predict(spec, profile)
                with terminal.progress_bar(spec) as progress:
                    report = run_load(
                        spec, one.slo, progress=progress, at_start=stack.reset_teacher
                    )
                pairs.append(compare(predicted, report))
                doubts += [f"{one.scenario.name}: {why}" for why in report.invalid_reasons]
            beside.append(_again(one.scenario.name, spec, profile, predicted.felt_per_s))
            for told in zip(*pairs, strict=True):
                name = told[0].name
                seen = [each.measured for each in told if each.measured is not None]
                said = [each.predicted for each in told if each.predicted is not None]
                found.append(
                    ScenarioFigure(
                        one.scenario.name, name, _mean(said), _mean(seen),
                        min(seen, default=None), max(seen, default=None),
                        beside[-1].machine if name == "p50, ms" else 1.0,
                    )
                )  # fmt: skip
    return found, beside, profile.model_dump(exclude={"overhead_s", "teacher_s"}), doubts


def _again(scenario: str, spec: LoadSpec, profile: LoadProfile, felt_per_s: float) -> FittedAgain:
    """Play the even load of the fit that is nearest to what a request of the scenario feels."""
    from loadtests.predict.prediction import FITTED_S, fitted_load
    from loadtests.report import terminal
    from loadtests.workers.workers import run_load

    even = [run for run in profile.fitted_on if run.overhead_s]
    near = min(even, key=lambda run: abs(math.log(run.per_second / felt_per_s)))
    with tempfile.TemporaryDirectory(prefix="raisehand-again-") as name:
        load = fitted_load(spec, near.per_second, 1.0, FITTED_S, Path(name) / "samples.jsonl")
        with terminal.progress_bar(load) as progress:
            report = run_load(load, progress=progress)
    p50_ms = report.latency_ms["student"].p50
    assert p50_ms is not None  # a profile was fitted on this very load
    return FittedAgain(scenario, near.per_second, near.student_ms[0], p50_ms)


@contextlib.contextmanager
def _stack(wanted: Wanted) -> Iterator[Stack]:
    from loadtests.servers.stack import running_stack

    assert wanted.task is not None
    with (
        own_cores(1) as cores,
        running_stack(wanted.task, wanted.scenario.teacher, cores=cores) as stack,
    ):
        yield stack


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def as_markdown(found: Sequence[ScenarioFigure]) -> str:
    """Lay the figures out as a table, one row a figure."""
    lines = [
        "| scenario | figure | predicted | measured | ratio | |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        ratio = "–" if one.off is None else f"{1 + one.off:.3f}"
        spread = _cell(one.measured)
        if one.least != one.most:
            spread += f" ({_cell(one.least)} to {_cell(one.most)})"
        cells = (one.scenario, one.name, _cell(one.predicted), spread, ratio, one.word)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine_markdown(beside: Sequence[FittedAgain]) -> str:
    """Lay out what the same load showed in the fit and beside each scenario."""
    lines = [
        "| beside | the same load | student's p50 in the fit, ms | again, ms | ratio |",
        "|---|---|---|---|---|",
    ]
    for one in beside:
        cells = (one.scenario, f"{one.per_second:g}/s", _cell(one.then_ms), _cell(one.again_ms))
        lines.append("| " + " | ".join((*cells, f"{one.machine:.3f}")) + " |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
