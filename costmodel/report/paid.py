"""The bill as it will be paid: in the currency of the price list, tax included."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from costmodel.bill.rails import Rail
from costmodel.money.pricelist import PriceList
from costmodel.report.tables import RAILS, PageTable


def paid_tables(rails: Sequence[Rail], own: PriceList | None) -> tuple[PageTable, ...]:
    """One table where a price list says a currency or a tax; none otherwise."""
    if own is None or own.paid_in is None:
        return ()
    code = own.currency.code if own.currency else "USD"
    rows = tuple(
        (RAILS[rail.name], f"{own.in_currency(rail.usd_per_month):,.2f} {code}") for rail in rails
    )
    return (PageTable(f"As paid: {own.paid_in}", ("rail", "per month"), rows),)


def paid_json(rails: Sequence[Rail], own: PriceList | None) -> dict[str, object] | None:
    """The same as plain JSON values; null where all is in US dollars without tax."""
    if own is None or own.paid_in is None:
        return None
    cents = Decimal("0.01")
    return {
        "words": own.paid_in,
        "per_month": {
            rail.name: float(own.in_currency(rail.usd_per_month).quantize(cents)) for rail in rails
        },
    }
