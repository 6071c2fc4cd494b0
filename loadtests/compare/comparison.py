"""Two sides of one load test, A and B: which figures moved, and whether that is more than chance.

Runs are compared in pairs: the same scenario, rate and seed send the same texts at the same
moments. Of three pairs or more the spread between pairs gives the interval; of fewer, stretches of
the runs do, pair by pair, and the report says so. Ratios are compared by their logarithms
(Student's t); the intervals of all figures hold together with 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field

from loadtests.errors import BadLoadSpec
from loadtests.figures.load_report import LoadReport
from loadtests.verdict.conclusion import Conclusion

Word = Literal["better", "worse", "same", "unclear", "not known"]
CONFIDENCE = 0.95
LEAST_PAIRS = 3
STRETCHES = 10
"""Neighbouring seconds are alike: a run is cut into so many parts at most, not into its seconds."""

Values = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One figure: whether less of it is better, and whether its ratio or its difference counts."""

    less_is_better: bool
    relative: bool


KINDS: Mapping[str, _Kind] = {
    "goodput, rps": _Kind(less_is_better=False, relative=True),
    "p50, ms": _Kind(less_is_better=True, relative=True),
    "p99, ms": _Kind(less_is_better=True, relative=True),
    "escalated": _Kind(less_is_better=True, relative=False),
}


class ComparedFigure(BaseModel):
    """One figure of both sides. `change` is B against A: a ratio less 1, or a difference."""

    model_config = ConfigDict(frozen=True)

    name: str
    relative: bool
    a: float | None
    b: float | None
    """Means over the pairs."""
    change: float | None
    low: float | None
    high: float | None
    """Of the change; None where there are too few pairs."""
    pairs: int
    word: Word


class LoadComparison(BaseModel):
    """What changed from A to B."""

    model_config = ConfigDict(frozen=True)

    a: str
    b: str
    at: tuple[str, str]
    """When the first run of each was measured."""
    commits: tuple[str, str]
    verdicts: tuple[str, str]
    """PASS, FAIL or INVALID of the runs of each side; the worst."""
    tolerance: float
    """A change that is smaller does not matter."""
    paired_by: Literal["run", "stretch"]
    figures: tuple[ComparedFigure, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Literal["SAME", "WORSE", "BETTER", "UNCLEAR", "INVALID"]:
        """INVALID where a side does not count; then WORSE where any figure is."""
        words = {figure.word for figure in self.figures}
        if "INVALID" in self.verdicts:
            return "INVALID"
        if "worse" in words:
            return "WORSE"
        if "unclear" in words or words == {"not known"}:
            return "UNCLEAR"
        return "BETTER" if "better" in words else "SAME"

    @property
    def passed(self) -> bool:
        """Whether nothing became worse, as far as the runs can tell."""
        return self.verdict not in ("WORSE", "INVALID")


def compare_runs(
    a: Sequence[Conclusion], b: Sequence[Conclusion], *, tolerance: float = 0.05
) -> LoadComparison:
    """Compare two sides.

    Raises:
        BadLoadSpec: they have no run in common.
    """
    ours, theirs = _by_run(a), _by_run(b)
    common = [key for key in ours if key in theirs]
    if not common:
        raise BadLoadSpec(
            f"A and B have no run in common, of the same scenario, rate, length and seed: A has "
            f"{_named(ours)}; B has {_named(theirs)}"
        )
    paired_by: Literal["run", "stretch"] = "run"
    pairs = [(ours[key], theirs[key]) for key in common]
    if len(pairs) < LEAST_PAIRS:
        paired_by = "stretch"
        pairs = [
            pair for x, y in _reports(a, b) for pair in zip(_parts(x), _parts(y), strict=False)
        ]
    known = [name for name in KINDS if any(_both(x, y, name) for x, y in pairs)]
    return LoadComparison(
        a=a[0].target,
        b=b[0].target,
        at=(a[0].at, b[0].at),
        commits=(a[0].versions.get("commit", ""), b[0].versions.get("commit", "")),
        verdicts=(_worst(a), _worst(b)),
        tolerance=tolerance,
        paired_by=paired_by,
        figures=tuple(_compared(name, pairs, tolerance, len(known)) for name in known),
    )


def _by_run(side: Sequence[Conclusion]) -> dict[tuple[object, ...], Values]:
    """Return what each run found, by what it was asked."""
    found: dict[tuple[object, ...], Values] = {}
    for conclusion in side:
        for run in conclusion.runs:
            found[(*_asked(conclusion), run.seed)] = {
                "goodput, rps": run.goodput_rps,
                "p50, ms": run.p50_ms,
                "p99, ms": run.p99_ms,
                "escalated": run.escalation_rate,
            }
    return found


def _asked(conclusion: Conclusion) -> tuple[object, ...]:
    spec = conclusion.report.spec
    return (
        conclusion.scenario,
        spec.surface,
        spec.rate,
        spec.arrivals,
        spec.shape.model_dump_json(),
        spec.duration_s,
    )


def _named(runs: Mapping[tuple[object, ...], Values]) -> str:
    said = [f"{k[0]} at {k[2]:g} rps for {k[5]:g} s with seed {k[-1]}" for k in runs]
    return ", ".join(said[:3]) + (", …" if len(said) > 3 else "")


def _reports(
    a: Sequence[Conclusion], b: Sequence[Conclusion]
) -> list[tuple[LoadReport, LoadReport]]:
    """Return the whole reports of runs that are in both sides: a conclusion holds one."""
    theirs = {(*_asked(each), each.report.spec.seed): each.report for each in b}
    keyed = [((*_asked(each), each.report.spec.seed), each.report) for each in a]
    return [(report, theirs[key]) for key, report in keyed if key in theirs]


def _parts(report: LoadReport) -> list[Values]:
    """Return what stretches of a run found: as many seconds in each, ten of them at most."""
    intervals = report.intervals
    if not intervals:
        return []
    parts: list[Values] = []
    for ours in np.array_split(np.arange(len(intervals)), min(STRETCHES, len(intervals))):
        chosen = [intervals[k] for k in ours]
        answered = sum(sum(i.routes.values()) for i in chosen)
        student = sum(i.routes.get("student", 0) for i in chosen)
        parts.append(
            {
                "goodput, rps": _mean([i.good_rps for i in chosen]),
                "p50, ms": _mean([i.p50_ms for i in chosen]),
                "p99, ms": _mean([i.p99_ms for i in chosen]),
                "escalated": 1 - student / answered if student else None,
            }
        )
    return parts


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _both(x: Values, y: Values, name: str) -> bool:
    return x[name] is not None and y[name] is not None


def _compared(
    name: str, pairs: Sequence[tuple[Values, Values]], tolerance: float, looks: int
) -> ComparedFigure:
    kind = KINDS[name]
    known = [(x[name] or 0.0, y[name] or 0.0) for x, y in pairs if _both(x, y, name)]
    relative = kind.relative and all(x > 0 and y > 0 for x, y in known)
    moved = np.array([math.log(y / x) if relative else y - x for x, y in known])
    middle = float(moved.mean())
    low = high = None
    if len(known) >= LEAST_PAIRS:
        from scipy.special import stdtrit

        error = float(moved.std(ddof=1)) / math.sqrt(len(known))
        width = float(stdtrit(len(known) - 1, 1 - (1 - CONFIDENCE) / looks / 2)) * error
        low, high = middle - width, middle + width
    change, low, high = (_back(value, relative) for value in (middle, low, high))
    return ComparedFigure(
        name=name,
        relative=relative,
        a=float(np.mean([x for x, _ in known])),
        b=float(np.mean([y for _, y in known])),
        change=change,
        low=low,
        high=high,
        pairs=len(known),
        word=_word(kind, low, high, tolerance),
    )


def _back(value: float | None, relative: bool) -> float | None:
    return math.expm1(value) if relative and value is not None else value


def _word(kind: _Kind, low: float | None, high: float | None, tolerance: float) -> Word:
    """Say what an interval says of a change that matters."""
    if low is None or high is None:
        return "not known"
    if -tolerance <= low and high <= tolerance:
        return "same"
    if low <= 0 <= high:
        return "unclear"
    return "worse" if (low > 0) is kind.less_is_better else "better"


def _worst(side: Sequence[Conclusion]) -> str:
    found = {conclusion.verdict for conclusion in side}
    return "INVALID" if "INVALID" in found else "FAIL" if "FAIL" in found else "PASS"
