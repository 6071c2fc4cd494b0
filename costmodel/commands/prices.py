"""`raisehand prices`: unit prices with their source and date."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import click

from costmodel.errors import UnknownPrice
from costmodel.money.machines import MachineRow, find_machine, no_such_machine
from costmodel.money.pricebook import price_of
from costmodel.money.pricelist import PriceList, read_prices
from costmodel.money.pricing import Price, PriceSpec, now
from costmodel.money.rates import ApiPrice
from costmodel.money.snapshot import snapshot_warning
from costmodel.report.tables import PageTable
from costmodel.report.terminal import print_tables

LOOK_AHEAD_DAYS = 60
"""How far ahead dated and hourly price changes are looked for."""


@click.command(epilog="Example: raisehand prices anthropic:claude-sonnet-5-5")
@click.argument("name", required=False)
@click.option("--prices", "own_path", type=click.Path(path_type=Path), help="Also one's own list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prices(name: str | None, own_path: Path | None, as_json: bool) -> None:
    """Show unit prices: all hourly machine prices, or one NAME.

    NAME is a machine of the list (aws:c7i.large), a model as genai-prices names it
    (openai:gpt-4o-mini), or a part of machine names (h100).
    """
    at = now()
    own = read_prices(own_path) if own_path else PriceList()
    rows = own.all_machines
    wanted = (name or "").lower()
    found = [row for row in rows if wanted in f"{row.reference} {row.hardware}".lower()]
    if name is not None and not found:
        words = _words(name, own)
        click.echo(json.dumps({"name": name, "price": words}) if as_json else words)
        return
    if as_json:
        click.echo(json.dumps([row.model_dump(mode="json") for row in found], indent=1))
        return
    _print(found, at.date())


def _words(name: str, own: PriceList) -> str:
    at = now()
    machines = own.all_machines
    if name.split("@")[0] in {row.name for row in machines}:
        return find_machine(name, at.date(), machines).words
    try:
        price = price_of(PriceSpec(model=name), at=at, own=own)
    except UnknownPrice as no_model:
        if name.split(":")[0] not in {row.name.split(":")[0] for row in machines}:
            raise
        raise UnknownPrice(f"{no_such_machine(name, machines)}; and {no_model}") from None
    ends = _ends(name, price, own)
    if not isinstance(price, ApiPrice):
        return "\n".join([price.words, *ends])
    lines = [price.words, *(other.words for other in price.variants)]
    hours = [at.replace(minute=0) + timedelta(hours=h) for h in range(1, 24 * LOOK_AHEAD_DAYS)]
    seen = {price.rates(at).words}
    for hour in hours if price.changes else ():
        words = price.rates(hour).words
        if words not in seen:
            seen.add(words)
            lines.append(f"from {hour:%Y-%m-%d %H:%M} UTC: {words}")
    old = snapshot_warning(at.date())
    return "\n".join([*lines, *ends, *([f"Warning: {old}"] if old else [])])


def _ends(name: str, price: Price, own: PriceList) -> list[str]:
    """Say when a model ends, where that is known: the own list wins."""
    agreed, today = own.model(name), now().date()
    end = agreed.retirement if agreed else None
    if end is None and isinstance(price, ApiPrice):
        end = price.retirement
    return [] if end is None else [f"{'Warning: ' if end.near(today) else ''}{end.words(today)}"]


def _print(rows: list[MachineRow], today: date) -> None:
    from rich.console import Console

    sources = sorted({row.source for row in rows})
    cells = tuple(
        (
            row.reference,
            f"{row.usd_per_hour.normalize():f}",
            row.hardware,
            f"{row.checked}{' STALE' if row.stale(today) else ''}",
            f"[{sources.index(row.source) + 1}]{'' if row.basis == 'listed' else ' ' + row.basis}",
        )
        for row in rows
    )
    headers = ("name", "$/hour", "hardware", "checked", "source")
    print_tables(Console(), [PageTable("Hourly prices", headers, cells)])
    for number, source in enumerate(sources, 1):
        click.echo(f"[{number}] {source}")
    click.echo(
        "STALE: nobody looked at the source for 30 days. Put your own agreement into the file with "
        "usd_per_hour. API prices come from genai-prices: raisehand prices openai:gpt-4o-mini"
    )
