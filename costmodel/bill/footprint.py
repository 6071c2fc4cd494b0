"""Energy and carbon of a month of machines: hours × watts × PUE × what the grid emits.

Watts grow linearly from idle to busy with utilisation (Fan, Weber and Barroso 2007; the method of
Cloud Carbon Footprint). Location-based, operation only.
"""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.bill.machines import MachineBill
from costmodel.money.footprint import Watts
from costmodel.money.pricing import HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class MonthFootprint:
    """A month of one kind of machine."""

    who: str
    machines: int
    utilisation: float
    kwh: float
    kg_co2e: float


def footprint(bill: MachineBill, watts: Watts, pue: float, kg_per_kwh: float) -> MonthFootprint:
    """Return what the machines of a bill draw in its month, idle hours included."""
    idle, busy = watts
    mean_w = idle + min(1.0, bill.utilisation) * (busy - idle)
    kwh = bill.machines * HOURS_PER_MONTH * mean_w * pue / 1000.0
    return MonthFootprint(bill.who, bill.machines, bill.utilisation, kwh, kwh * kg_per_kwh)
