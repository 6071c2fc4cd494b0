"""Prices of one's own: agreements, discounts, currency and tax, from a file (`--prices FILE`).

machines:                     # rows as in prices.yaml: terms and region say which one
  - {name: "aws:c7i.large", terms: reserved-1y, region: eu-west-1, usd_per_hour: "0.056",
     hardware: "2 vCPU", since: 2026-11-01, checked: 2026-11-29, basis: listed, source: "contract"}
models:                       # instead of the public price
  - {name: "openai:gpt-4o", usd_per_mtok_input: "2.10", usd_per_mtok_output: "8.40",
     checked: 2026-11-29, source: "contract 17"}
discounts:                    # committed use: off the public price of all that begins so
  - {of: "openai:", share: 0.15, source: "committed spend 2026"}
currency: {code: EUR, per_usd: "0.92", dated: 2026-11-28, source: "ECB reference rate"}
tax: {name: VAT, rate: "0.19"}
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from costmodel.errors import BadPriceList
from costmodel.fields import NotNegativeUsd
from costmodel.frozen import Frozen
from costmodel.money.machines import MachineRow, given_twice, shipped_machines
from costmodel.money.pricing import PriceSpec
from costmodel.money.retirements import Retirement


class ModelRow(Frozen):
    """What was agreed for a model, in US dollars per million tokens."""

    name: str = Field(min_length=1)
    usd_per_mtok_input: NotNegativeUsd
    usd_per_mtok_output: NotNegativeUsd
    usd_per_mtok_cached_input: NotNegativeUsd | None = None
    usd_per_mtok_cache_write: NotNegativeUsd | None = None
    retires: date | None = None
    """When it ends for you."""
    checked: date
    source: str = Field(min_length=1)

    @property
    def retirement(self) -> Retirement | None:
        """The same with its source."""
        return None if self.retires is None else Retirement(self.retires, self.source, self.checked)

    @property
    def spec(self) -> PriceSpec:
        """The same as a file's price."""
        return PriceSpec(**self.model_dump(exclude={"name", "retires", "checked", "source"}))


class Discount(Frozen):
    """A share off the public price of every model whose name begins so."""

    of: str = Field(min_length=1)
    share: Annotated[Decimal, Field(gt=0, lt=1)]
    source: str = Field(min_length=1)


class Currency(Frozen):
    """What bills are paid in; prices and all figures stay in US dollars, totals come in both."""

    code: str = Field(pattern=r"^[A-Z]{3}$")
    per_usd: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
    dated: date
    source: str = Field(min_length=1)


class Tax(Frozen):
    """Paid on top of every bill."""

    name: str = "tax"
    rate: Annotated[Decimal, Field(ge=0, le=1)]


class PriceList(Frozen):
    """Prices of one's own; what is not in it comes from the shipped ones."""

    machines: tuple[MachineRow, ...] = ()
    models: tuple[ModelRow, ...] = ()
    discounts: tuple[Discount, ...] = ()
    currency: Currency | None = None
    tax: Tax | None = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = given_twice(self.machines)
        names = [row.name for row in self.models]
        twice = twice or next((f"{n} is given twice" for n in names if names.count(n) > 1), None)
        if twice:
            raise ValueError(twice)
        return self

    @property
    def all_machines(self) -> tuple[MachineRow, ...]:
        """Own rows, and the shipped ones of machines, terms and regions that are not among them."""
        own = {(row.reference, row.region) for row in self.machines}
        kept = (row for row in shipped_machines() if (row.reference, row.region) not in own)
        return (*self.machines, *kept)

    def model(self, name: str) -> ModelRow | None:
        """What was agreed for a model, if anything was."""
        return next((row for row in self.models if row.name == name), None)

    def discount(self, name: str) -> Discount | None:
        """The discount with the longest beginning that fits."""
        fitting = [one for one in self.discounts if name.startswith(one.of)]
        return max(fitting, key=lambda one: len(one.of), default=None)

    def in_currency(self, usd: Decimal) -> Decimal:
        """An amount as it will be paid: in the currency, tax included."""
        rate = self.currency.per_usd if self.currency else Decimal(1)
        return usd * rate * (1 + (self.tax.rate if self.tax else Decimal(0)))

    @property
    def paid_in(self) -> str | None:
        """In what it is paid, in words; None: US dollars without tax, as all figures are."""
        parts = []
        if self.currency:
            now = self.currency
            parts.append(f"{now.code} at {now.per_usd} a dollar ({now.source}, {now.dated})")
        if self.tax:
            parts.append(f"{self.tax.name} {self.tax.rate:.1%} included")
        return ", ".join(parts) or None


def read_prices(path: Path) -> PriceList:
    """Read prices of one's own.

    Raises:
        BadPriceList: the file cannot be read, or a row is faulty or given twice.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise BadPriceList(
                f"{path} is a {type(raw).__name__}; a price list has machines, models, discounts, "
                "currency or tax"
            )
        return PriceList.model_validate(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadPriceList(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        what = fault["msg"].removeprefix("Value error, ")
        raise BadPriceList(f"{path}: {where}: {what}") from None
