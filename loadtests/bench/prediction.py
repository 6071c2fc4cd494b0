"""`raisehand bench prediction`: the simulator against the router, over the same arrivals.

One router and one fake teacher: a profile is fitted at rates that no scenario has, then each
scenario is predicted, played, and the two are put side by side.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtests.errors import BadLoadSpec

if TYPE_CHECKING:
    from loadtests.inputs.request import Wanted
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

    @property
    def off(self) -> float | None:
        """(predicted - measured) / measured; None where one of them is not known."""
        if self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1.0

    @property
    def word(self) -> str:
        """`within` the limit, or else whether the runs themselves lie as far apart."""
        if self.off is None or self.predicted is None or self.least is None or self.most is None:
            return "unknown"
        if abs(self.off) <= MOST_OFF:
            return "within"
        return "scatter" if self.least <= self.predicted <= self.most else "OFF"


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
    measured. Prints Markdown. Exit code 1: a figure is off by more than 10 % and by more than
    the runs differ among themselves.
    """
    from costmodel.extras import require

    require("loadtests")
    options: dict[str, Any] = {"task": task, "fit": True} | ({"fit_at": fit_at} if fit_at else {})
    if duration is not None:
        options["duration_s"] = duration
    found, profile, doubts = measure(options, names or SCENARIOS, runs)
    if json_path is not None:
        told = {"figures": [asdict(one) | {"off": one.off, "word": one.word} for one in found],
                "profile": profile, "doubts": doubts}  # fmt: skip
        json_path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    click.echo(as_markdown(found))
    for doubt in doubts:
        click.echo(f"This run does not count: {doubt}")
    if doubts or any(one.word == "OFF" for one in found):
        raise click.exceptions.Exit(1)


def measure(
    options: dict[str, Any], names: Sequence[str], runs: int
) -> tuple[list[ScenarioFigure], dict[str, Any], list[str]]:
    """Fit on one stack, then predict and play each scenario on it.

    Returns:
        The figures, the profile, and why the load tests say that some run does not count.

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
            for told in zip(*pairs, strict=True):
                name = told[0].name
                seen = [each.measured for each in told if each.measured is not None]
                said = [each.predicted for each in told if each.predicted is not None]
                found.append(
                    ScenarioFigure(
                        one.scenario.name, name, _mean(said), _mean(seen),
                        min(seen, default=None), max(seen, default=None),
                    )
                )  # fmt: skip
    return found, profile.model_dump(exclude={"overhead_s", "teacher_s"}), doubts


@contextlib.contextmanager
def _stack(wanted: Wanted) -> Iterator[Stack]:
    from loadtests.servers.cores import own_cores
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


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
