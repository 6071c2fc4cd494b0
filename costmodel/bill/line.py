"""One line of a bill."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer

Usd = Annotated[
    Decimal, PlainSerializer(lambda usd: round(float(usd), 6), return_type=float, when_used="json")
]
"""US dollars: Decimal in Python, a number in JSON."""


class Line(BaseModel):
    """One line of a month's bill and how it came about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    usd: Usd
    detail: str = ""
