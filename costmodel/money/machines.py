"""Hourly prices of machines: dated, sourced, append-only rows, looked up by name and day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from costmodel.errors import BadPriceList, UnknownPrice
from costmodel.frozen import Frozen
from costmodel.money.pricing import amount

PRICE_LIST = Path(__file__).with_name("prices.yaml")
ON_DEMAND = "on-demand"
STALE_AFTER_DAYS = 30
"""Of a price nobody looked up since."""


class MachineRow(Frozen):
    """What one machine costs an hour from one day on, and who says so."""

    name: str = Field(pattern=r"^[a-z0-9-]+:[a-z0-9.-]+$")
    usd_per_hour: Decimal = Field(gt=0)
    hardware: str
    region: str | None = None
    terms: str = Field(default=ON_DEMAND, pattern=r"^[a-z0-9-]+$")
    low: Decimal | None = None
    high: Decimal | None = None
    since: date
    checked: date
    basis: Literal["listed", "derived", "memory"]
    source: str
    note: str | None = None

    @property
    def reference(self) -> str:
        """How a file names exactly this price: `provider:machine` or `provider:machine@terms`."""
        return self.name if self.terms == ON_DEMAND else f"{self.name}@{self.terms}"

    @property
    def words(self) -> str:
        """Amount, machine, terms, region, basis, source and date, for people."""
        where = f", {self.region}" if self.region else ""
        basis = "" if self.basis == "listed" else f", {self.basis}"
        return (
            f"{amount(self.usd_per_hour)} per hour ({self.name}: {self.hardware}; "
            f"{self.terms}{where}{basis}; read {self.checked} from {self.source})"
        )

    def stale(self, day: date) -> bool:
        """Whether nobody has looked at the source for more than 30 days."""
        return (day - self.checked).days > STALE_AFTER_DAYS

    def words_on(self, day: date) -> str:
        """The words, with a warning when the row is stale on that day."""
        age = (day - self.checked).days
        return f"{self.words}, STALE: not checked for {age} days" if self.stale(day) else self.words


def read_machines(path: Path) -> tuple[MachineRow, ...]:
    """Read a price list.

    Raises:
        BadPriceList: the file cannot be read, or a row is faulty or given twice for one day.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
        rows = TypeAdapter(tuple[MachineRow, ...]).validate_python(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadPriceList(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise BadPriceList(
            f"{path}: row {where}: {fault['msg']} (found {fault['input']!r})"
        ) from None
    twice = given_twice(rows)
    if twice:
        raise BadPriceList(f"{path}: {twice}")
    return rows


def given_twice(rows: Sequence[MachineRow]) -> str | None:
    """A sentence about two prices of one machine for one day: the file must say which is meant."""
    seen: set[tuple[str, str | None, date]] = set()
    for row in rows:
        key = (row.reference, row.region, row.since)
        if key in seen:
            return f"{row.reference} has two rows for {row.since}; keep one"
        seen.add(key)
    return None


@cache
def shipped_machines() -> tuple[MachineRow, ...]:
    """The rows that come with the package."""
    return read_machines(PRICE_LIST)


def find_machine(reference: str, day: date, rows: Sequence[MachineRow] | None = None) -> MachineRow:
    """Return the newest row of `provider:machine[@terms][@region]` that applies on `day`.

    Without terms, on-demand is meant, or the only terms there are; without a region, the only one.

    Raises:
        UnknownPrice: no row has that name, its terms or region are ambiguous, or none applies so
            early.
    """
    rows = shipped_machines() if rows is None else rows
    name, *wanted = reference.split("@")
    named = [row for row in rows if row.name == name]
    if not named:
        raise UnknownPrice(no_such_machine(reference, rows))
    choices = sorted({row.terms for row in named})
    regions = {row.region for row in named if row.region}
    asked = [word for word in wanted if word not in regions]
    if not asked:
        asked = [ON_DEMAND if ON_DEMAND in choices or len(choices) > 1 else choices[0]]
    matching = [row for row in named if [row.terms] == asked]
    if not matching:
        offers = ", ".join(f"{name}@{choice}" for choice in choices)
        terms = "@".join(asked)
        raise UnknownPrice(f"machine {reference!r} has no price with terms {terms!r}; use {offers}")
    here = [word for word in wanted if word in regions]
    matching = [row for row in matching if not here or [row.region] == here]
    places = sorted({row.region or "" for row in matching})
    if len(places) != 1:
        offers = ", ".join(f"{reference}@{place}" for place in places or sorted(regions) if place)
        raise UnknownPrice(f"machine {reference!r} has a price for each region; use {offers}")
    valid = [row for row in matching if row.since <= day]
    if not valid:
        first = min(row.since for row in matching)
        raise UnknownPrice(
            f"machine {reference!r} has no price for {day}: the first row is for {first}; "
            "give usd_per_hour instead"
        )
    return max(valid, key=lambda row: row.since)


def no_such_machine(reference: str, rows: Sequence[MachineRow]) -> str:
    """Say that no machine has that name, and which names are near it."""
    names = sorted({row.reference for row in rows})
    near = get_close_matches(reference, names, n=3, cutoff=0.5)
    hint = f"; near matches: {', '.join(near)}" if near else ""
    return (
        f"no hourly price is known for machine {reference!r}{hint}; see `raisehand prices`, or "
        "give usd_per_hour in the file"
    )


def _loader() -> type[yaml.SafeLoader]:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
