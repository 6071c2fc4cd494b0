"""Audits beside the promise, as a person reads them: agreement, its interval, the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.intervals import confidence_sequence
from router.promise.watch import class_figures

NEARLY = 0.02


@dataclass(frozen=True, slots=True)
class ClassWatched:
    """What audits say of a label with a promise of its own; its interval holds at every look."""

    label: str
    audits: int
    disagreements: int
    low: float | None
    high: float | None
    line: float
    """Agreement promised."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What all audits of the bundle that answers say; None: nothing is audited, or nothing yet."""

    audits: int
    disagreements: int
    agreement: float | None
    low: float | None
    high: float | None
    """95 % confidence sequence: it holds however often one looks."""
    e_value: float | None
    """Evidence against the certificate."""
    alarm_at: float | None
    alarmed: bool
    classes: tuple[ClassWatched, ...]
    figures: Mapping[str, Any]
    """All that the judge says."""


class AuditIntervals:
    """Intervals of tasks' agreement, computed anew when counts have changed by some per cent.

    One takes 5 ms, and a task may promise something of each of its labels.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int, tuple[float, float]]] = {}

    def of(self, task: str, right: int, n: int) -> tuple[float, float]:
        """Return the interval of right / n, or of counts that are nearly the same."""
        known = self._known.get(task)
        if known is None or not (_near(n, known[1]) and _near(n - right, known[1] - known[0])):
            known = self._known[task] = right, n, confidence_sequence(right, n)
        return known[2]


def _near(count: int, known: int) -> bool:
    return known <= count <= known * (1.0 + NEARLY)


def watched_of(
    task: str, workers: Sequence[Mapping[str, Any]], intervals: AuditIntervals
) -> Watched | None:
    """Return what the audits of one task say, from every worker's state of it.

    All workers follow one store; the one that has heard the most is right.
    """
    told = [state["audits"] for state in workers if state.get("audits")]
    if not told:
        return None
    figures = max(told, key=lambda one: [int(one.get(n) or 0) for n in ("alarms", "audits")])
    audits, wrong = int(figures.get("audits") or 0), int(figures.get("disagreements") or 0)
    low, high = intervals.of(task, audits - wrong, audits)
    share = figures.get("disagreement")
    return Watched(
        audits=audits,
        disagreements=wrong,
        agreement=None if share is None else 1.0 - float(share),
        low=low if audits else None,
        high=high if audits else None,
        e_value=figures.get("e_value"),
        alarm_at=figures.get("alarm_at"),
        alarmed=figures.get("status") == "alarm" or any(s.get("escalate_all") for s in workers),
        classes=tuple(
            _class_of(task, intervals, label, *told)
            for label, told in class_figures(figures).items()
        ),
        figures=figures,
    )


def _class_of(
    task: str, intervals: AuditIntervals, label: str, audits: int, wrong: int, allowed: float
) -> ClassWatched:
    low, high = intervals.of(f"{task}\0{label}", audits - wrong, audits)
    return ClassWatched(
        label=label,
        audits=audits,
        disagreements=wrong,
        low=low if audits else None,
        high=high if audits else None,
        line=1.0 - allowed,
    )
