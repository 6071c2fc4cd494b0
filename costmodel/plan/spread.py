"""The figures of studies: over their seeds, and one flat row for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from costmodel.bill.simulated import MonthBill
from costmodel.engine.result import Result
from costmodel.plan.study import Study

SPREAD: dict[str, tuple[str, Callable[[Result, MonthBill], float]]] = {
    "cascade_usd": ("cascade, per month", lambda _, bill: float(bill.cascade)),
    "teacher_only_usd": ("teacher only, per month", lambda _, bill: float(bill.teacher_only)),
    "escalation_rate": ("escalated", lambda run, _: run.escalation_rate),
    "agreement": ("agreement", lambda run, _: run.agreement),
    "degraded_rate": ("degraded", lambda run, _: run.degraded_rate),
    "refused_rate": ("refused", lambda run, _: run.refused_rate),
    "p50_s": ("p50, all answers", lambda run, _: run.routes["all"].p50_s),
    "p99_s": ("p99, all answers", lambda run, _: run.routes["all"].p99_s),
}
"""Figures that differ from seed to seed: what people call each, and how it is read."""


def spread(study: Study) -> dict[str, tuple[float, float, float]]:
    """Mean, least and most of each figure over the seeds."""
    found = {}
    for name, (_, of) in SPREAD.items():
        seen = [of(run, bill) for run, bill in zip(study.results, study.bills, strict=True)]
        found[name] = (float(np.mean(seen)), min(seen), max(seen))
    return found


def records(studies: Sequence[Study]) -> list[dict[str, float | str | bool | None]]:
    """One flat row of figures per scenario: what a spreadsheet wants."""
    rows: list[dict[str, float | str | bool | None]] = []
    for one in studies:
        result, saving, over = one.result, one.savings[0], spread(one)
        row: dict[str, float | str | bool | None] = {"scenario": one.scenario.name}
        for rail in one.bill.rails:
            row[f"{rail.name}_usd_per_month"] = round(float(rail.usd_per_month), 2)
        row |= {
            "saving_usd_p10": round(saving.low, 2),
            "saving_usd": round(saving.mid, 2),
            "saving_usd_p90": round(saving.high, 2),
            "cost_ratio": round(one.cost_ratio, 6),
            **{name: round(over[name][0], 6) for name in
               ("escalation_rate", "agreement", "degraded_rate", "refused_rate")},
            "answers": one.verdict.answers,
            "keeps_promise": one.verdict.keeps_promise,
            "pays": one.verdict.pays,
            "p50_ms": round(over["p50_s"][0] * 1000, 3),
            "p99_ms": round(over["p99_s"][0] * 1000, 3),
            "student_utilisation": round(one.mean(lambda run: run.student_utilisation), 6),
            "requests_per_month": round(float(one.bill.requests)),
            "seed": result.seed,
            "seeds": len(one.results),
        }  # fmt: skip
        rows.append(row)
    return rows
