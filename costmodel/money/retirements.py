"""When a supplier ends a model: dates that it has published, or that a file gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import yaml

from costmodel.frozen import Frozen

DATES = Path(__file__).with_name("retirements.yaml")
WARN_DAYS = 60
"""Before the end it is time to label with another model."""
_EDITION = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)")


@dataclass(frozen=True, slots=True)
class Retirement:
    """The end of a model, and who says so."""

    on: date
    source: str
    checked: date | None
    """When somebody last looked; None: it is the user's own word."""

    def days(self, today: date) -> int:
        """Days that are left; below 0: it is over."""
        return (self.on - today).days

    def near(self, today: date) -> bool:
        """Whether it is time to act."""
        return self.days(today) <= WARN_DAYS

    def words(self, today: date) -> str:
        """Say it to a person."""
        left = self.days(today)
        when = f"in {left} days" if left > 0 else "today" if left == 0 else f"{-left} days ago"
        read = f", read {self.checked}" if self.checked else ""
        return f"its supplier ends it on {self.on}, {when} ({self.source}{read})"


class _Supplier(Frozen):
    supplier: str
    source: str
    checked: date
    models: Mapping[date, tuple[str, ...]]


def retirement_of(supplier: str, model: str) -> Retirement | None:
    """Return the end of a model of a supplier's own API; None: no date is known.

    A dated edition ends with the model whose edition it is, unless it has a date of its own.
    """
    known = _known()
    edition = _EDITION.search(model)
    names = (model, model[: edition.start()] if edition and edition.end() == len(model) else model)
    return next((known[supplier, name] for name in names if (supplier, name) in known), None)


@cache
def _known() -> dict[tuple[str, str], Retirement]:
    rows = [_Supplier.model_validate(row) for row in yaml.safe_load(DATES.read_text("utf-8"))]
    return {
        (row.supplier, model): Retirement(on, row.source, row.checked)
        for row in rows
        for on, models in row.models.items()
        for model in models
    }
