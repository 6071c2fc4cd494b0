"""What the models behind one teacher charge: the one that answered is the one that is paid."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from costmodel.errors import UnknownPrice
from costmodel.money.pricing import Price, now
from costmodel.money.rates import ApiPrice
from router.teacher.bill import Bill
from students.sections import TeacherSection

NOTHING = Decimal(0)
_EDITION = re.compile(r"([-@:](\d{4}-\d{2}-\d{2}|\d{3,8}|latest|\d{1,2}-\d{4}))+")
"""How a provider marks the edition of a model that was asked for without one."""


class TeacherPrices:
    """Prices bills.

    A price that the task file gives as amounts is what this endpoint charges for the task's model,
    by whatever name the endpoint calls it. A price by reference (`openai:gpt-4o-mini`) is one of a
    list: a model that answered under another name has its own there, or none.

    Args:
        own: of the task's model; None when unpriced.
    """

    def __init__(self, section: TeacherSection, own: Price | None) -> None:
        self._section = section
        self._own = own
        self._named = lru_cache(maxsize=256)(self._price_of)

    def usd(self, bill: Bill) -> Decimal | None:
        """Return what a bill comes to; None when it has no known price."""
        if not bill.attempts:
            return NOTHING
        price = self._named(bill.asked, bill.model)
        if price is None:
            return None
        try:
            return price.cost(bill.usage, now()).usd
        except UnknownPrice:
            return None

    def knows(self, model: str) -> bool:
        """Whether a model that is asked for has a price."""
        return self._named(model, "") is not None

    def _price_of(self, asked: str, answered: str) -> Price | None:
        own = self._section.model
        if is_same_model(own, answered or asked or own):
            return self._own
        if self._section.price.model is None:
            return self._own if is_same_model(own, asked or own) else None
        provider = self._section.price.model.partition(":")[0]
        try:
            return ApiPrice.of(f"{provider}:{answered or asked}", now())
        except UnknownPrice:
            return None if asked else self._own  # an escalation asks for the task's model only


def is_same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: with or without its vendor before, its edition behind."""
    one, other = (name.rpartition("/")[2].casefold() for name in (one, other))
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and (
        long == short or _EDITION.fullmatch(long[len(short) :]) is not None
    )
