"""Machines rented by the hour: whole ones, sized for the peak, paid whether busy or idle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from costmodel.bill.line import Line, Usd
from costmodel.errors import BadProjection
from costmodel.frozen import Frozen
from costmodel.money.pricing import HOURS_PER_MONTH, MONTH_S, SECONDS_PER_HOUR, MachinePrice


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many machines are kept, whatever the traffic of the moment is.

    Machines are sized for the busiest moment: `peak_to_mean` times the mean rate must keep each of
    them at most `max_utilisation` busy. The defaults are those of a diurnal production service
    (ServeGen, arXiv 2505.09999: peak 3.3 times the mean).
    """

    min_machines: int = 2
    peak_to_mean: float = 3.3
    max_utilisation: float = 0.7

    def __post_init__(self) -> None:
        if self.min_machines < 1:
            raise BadProjection(f"min_machines is {self.min_machines}; at least 1 is needed")
        if not self.peak_to_mean >= 1:
            raise BadProjection(f"peak_to_mean is {self.peak_to_mean}; it must be at least 1")
        if not 0 < self.max_utilisation <= 1:
            raise BadProjection(f"max_utilisation is {self.max_utilisation}; it must be in (0, 1]")

    def room(self, one_machine: float) -> float:
        """Requests of a month that one machine of so many requests a second adds room for."""
        return one_machine * self.max_utilisation / self.peak_to_mean * MONTH_S

    def machines(self, requests_per_second: float, one_machine: float) -> int:
        """The machines needed for a mean rate, when one carries `one_machine` a second."""
        need = requests_per_second * MONTH_S / self.room(one_machine)
        return max(self.min_machines, math.ceil(need))


@dataclass(frozen=True, slots=True)
class TeacherFleet:
    """How a teacher's own machines are sized: to answer everything, and to answer what is asked."""

    everything: Fleet = Fleet(min_machines=1)
    asked: Fleet = Fleet(min_machines=1)


class MachineBill(Frozen):
    """A month of somebody's machines, both ways: the busy share, and all that is really paid.

    `machines` is 0 where nothing is rented by the hour.
    """

    who: str
    machines: int
    min_machines: int
    requests_per_machine: float
    """Requests of a month that one more machine adds room for, peaks included; 0 if not rented."""
    utilisation: float
    marginal_usd: Usd
    provisioned_usd: Usd

    @property
    def idle_usd(self) -> Decimal:
        """Paid and not used."""
        return self.provisioned_usd - self.marginal_usd

    @property
    def lines(self) -> tuple[Line, ...]:
        """The bill, idle time on its own line."""
        if not self.machines:
            return (Line(name=self.who, usd=self.provisioned_usd),)
        return (
            Line(
                name=f"{self.who} machines, busy",
                usd=self.marginal_usd,
                detail=f"{self.utilisation:.1%} of {self.machines} machines × 730 h",
            ),
            Line(
                name=f"{self.who} machines, idle",
                usd=self.idle_usd,
                detail="kept for peaks and for availability",
            ),
        )

    def usd_for(self, requests: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """US dollars of a month with other numbers of requests, at the price of this one."""
        need = np.ceil(np.asarray(requests, np.float64) / self.requests_per_machine)
        each = float(self.provisioned_usd) / self.machines
        return np.asarray(each * np.maximum(need, self.min_machines))


def rented(who: str, price: MachinePrice, requests: Decimal, fleet: Fleet) -> MachineBill:
    """A month of machines for so many requests, each of the mean size that the price speaks of."""
    one = float(price.requests_per_second)
    machines = fleet.machines(float(requests) / MONTH_S, one)
    return MachineBill(
        who=who,
        machines=machines,
        min_machines=fleet.min_machines,
        requests_per_machine=fleet.room(one),
        utilisation=float(requests) / MONTH_S / (machines * one),
        marginal_usd=price.usd_per_hour / SECONDS_PER_HOUR / price.requests_per_second * requests,
        provisioned_usd=price.usd_per_hour * machines * HOURS_PER_MONTH,
    )


def by_request(who: str, usd: Decimal) -> MachineBill:
    """The bill of somebody who is paid by the request: nothing is idle."""
    return MachineBill(
        who=who,
        machines=0,
        min_machines=0,
        requests_per_machine=0.0,
        utilisation=0.0,
        marginal_usd=usd,
        provisioned_usd=usd,
    )
