"""One line of a bill."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import PlainSerializer

from costmodel.frozen import Frozen

Usd = Annotated[
    Decimal, PlainSerializer(lambda usd: round(float(usd), 6), return_type=float, when_used="json")
]
"""US dollars: Decimal in Python, a number in JSON."""


class Line(Frozen):
    """One line of a month's bill and how it came about."""

    name: str
    usd: Usd
    detail: str = ""
