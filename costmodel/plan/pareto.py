"""Cost against quality over the thresholds that an evaluation measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from costmodel.bill.projection import Projection
from costmodel.uncertainty.draws import MoneyModel


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """What one threshold would give, in closed form; nothing about it is certified."""

    threshold: float
    escalation_rate: float
    agreement: float
    cost_ratio: float


def pareto_points(
    projection: Projection, curve: Iterable[tuple[float, float, float]]
) -> tuple[ParetoPoint, ...]:
    """Price a risk–coverage curve: rows of threshold, share kept, share of the kept that is wrong.

    All else is as projected: the traffic, the prices, the audits.
    """
    model = MoneyModel(projection)
    points = []
    for threshold, coverage, risk in sorted(curve):
        x = {**model.middle, "escalation_rate": 1 - coverage}
        ratio = float(model.cascade(x) / model.teacher_only(x))
        points.append(ParetoPoint(threshold, 1 - coverage, 1 - coverage * risk, ratio))
    return tuple(points)
