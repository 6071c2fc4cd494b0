"""How far chance moves the figures of a scenario."""

from __future__ import annotations

from costmodel.plan.spread import SPREAD, spread
from costmodel.plan.study import Study
from costmodel.report.tables import PageTable, ms, percent, usd


def seeds_table(study: Study) -> tuple[PageTable, ...]:
    """How far chance moves each figure: one run is no result."""
    if len(study.results) < 2:
        return ()
    rows = [
        (SPREAD[name][0], *(_figure(name, value) for value in values))
        for name, values in spread(study).items()
    ]
    caption = f"Over {len(study.results)} seeds: the same scenario, other chances"
    return (PageTable(caption, ("", "mean", "lowest", "highest"), tuple(rows)),)


def _figure(name: str, value: float) -> str:
    if name.endswith("_usd"):
        return usd(value)
    return ms(value) if name.endswith("_s") else percent(value, 3)
