"""What machines draw and what a region's grid emits: dated and sourced estimates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml

from costmodel.errors import UnknownFootprint
from costmodel.frozen import Frozen

FACTORS = Path(__file__).with_name("footprint.yaml")
Watts = tuple[float, float]
"""Of one part of a machine, idle and busy."""
_CARDS = re.compile(r"(\d+)× ([A-Z]+\d+[A-Z]*)")
_VCPUS = re.compile(r"(\d+) vCPU")


class Factors(Frozen):
    """The estimates of the file beside this module."""

    sources: Mapping[str, str]
    read: date
    pue: float
    """Power usage effectiveness: what a data centre draws for each watt of its machines."""
    watts: Mapping[str, Watts]
    kg_per_kwh: Mapping[str, float]

    def grid(self, region: str) -> float:
        """Return kilograms of CO2 equivalent a kilowatt-hour of a region's grid.

        Raises:
            UnknownFootprint: nobody has estimated it here.
        """
        try:
            return self.kg_per_kwh[region]
        except KeyError:
            near = get_close_matches(region, self.kg_per_kwh, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UnknownFootprint(
                f"no grid factor is known for {region}; {meant}Known: "
                f"{', '.join(sorted(self.kg_per_kwh))}; or give --kg-per-kwh"
            ) from None

    def machine(self, hardware: str) -> Watts:
        """Return what a machine of this description draws, e.g. `1× A100 80 GB, 8 vCPU`.

        Raises:
            UnknownFootprint: it has a card of which no power is known, or says neither.
        """
        parts = [(int(n), card) for n, card in _CARDS.findall(hardware)]
        parts += [(int(n), "vCPU") for n in _VCPUS.findall(hardware)]
        unknown = [card for _, card in parts if card not in self.watts]
        if unknown or not parts:
            what = f"no power is known for {unknown[0]}" if unknown else "its parts are not known"
            raise UnknownFootprint(f"{hardware}: {what}; give --watts IDLE:BUSY of one machine")
        idle, busy = (sum(n * self.watts[part][k] for n, part in parts) for k in (0, 1))
        return idle, busy


@cache
def shipped_factors() -> Factors:
    """The estimates that come with the package."""
    return Factors.model_validate(yaml.safe_load(FACTORS.read_text("utf-8")))
