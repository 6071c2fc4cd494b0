"""The vendor's invoice beside the ledger, line by line: a day and a model."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from costmodel.units import DAY_S
from router.errors import BadLedger, BadSettings
from router.ledger.view import open_view
from router.teacher.prices import is_same_model

_NAMES = {
    "day": ("day", "date"),
    "model": ("model",),
    "usd": ("usd", "dollars", "cost", "amount"),
    "tokens": ("tokens", "total_tokens"),
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
}
"""Columns of the file, by any of these names."""
_HELP = (
    "a CSV file with the columns day (2026-11-29, UTC), model, and usd or tokens (or input_tokens "
    "and output_tokens) is needed"
)


@dataclass(frozen=True, slots=True)
class Charge:
    """What one day of one model came to; None: not said."""

    day: date
    model: str
    usd: Decimal | None = None
    tokens: int | None = None
    unpriced: int = 0
    """Requests of the ledger without a known price."""
    estimated: int = 0


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One day and model of both: a side without it is None."""

    day: date
    model: str
    invoice: Charge | None
    ledger: Charge | None

    @property
    def usd(self) -> Decimal | None:
        """Invoice less ledger, in dollars; None where one side does not say it."""
        one, other = _amount(self.invoice, "usd"), _amount(self.ledger, "usd")
        return None if one is None or other is None else Decimal(one) - Decimal(other)

    @property
    def tokens(self) -> int | None:
        """Invoice less ledger, in tokens."""
        one, other = _amount(self.invoice, "tokens"), _amount(self.ledger, "tokens")
        return None if one is None or other is None else int(one) - int(other)


def reconcile(
    source: str | Path, invoice: Path, task: str, teacher_model: str
) -> list[InvoiceLine]:
    """Put an invoice beside the ledger, over the days of the invoice.

    Args:
        source: the ledger's file, or the address of the database.
        invoice: the vendor's file.
        task: whose requests.
        teacher_model: what a row of the ledger means that names no model.

    Raises:
        BadLedger: there is no ledger, or of a day only the sum over all models is kept.
        BadDatabase: the database cannot be used.
        BadSettings: the file is no such invoice; the message says its line and what is needed.
    """
    charged = _summed(_charges(invoice))
    days = {charge.day for charge in charged}
    booked = _booked(source, task, teacher_model, min(days), max(days))
    lines, left = [], [charge for charge in booked if charge.day in days]
    for charge in charged:
        match = next(
            (b for b in left if b.day == charge.day and is_same_model(b.model, charge.model)), None
        )
        if match is not None:
            left.remove(match)
        lines.append(InvoiceLine(charge.day, charge.model, charge, match))
    lines += [InvoiceLine(charge.day, charge.model, None, charge) for charge in left]
    return sorted(lines, key=lambda line: (line.day, line.model))


def _booked(source: str | Path, task: str, model: str, first: date, last: date) -> list[Charge]:
    start, end = _unix(first), _unix(last) + DAY_S
    with open_view(source) as ledger:
        if start < ledger.folded_until:
            raise BadLedger(
                f"of {first} only the sum over all models is kept; leave out the lines of folded "
                "days, or raise RAISEHAND_LEDGER_KEEP_DAYS"
            )
        rows = ledger.execute(_BY_DAY, (model, task, start, end))
    return _merged(
        Charge(
            date.fromordinal(_EPOCH + day),
            name,
            Decimal(int(whole) * 1_000_000 + int(rest)).scaleb(-12),
            int(tokens),
            unpriced,
            estimated,
        )
        for day, name, whole, rest, tokens, unpriced, estimated in rows
    )


def _merged(charges: Iterable[Charge]) -> list[Charge]:
    """Add up the editions of one model: asked for without one, answered with one."""
    merged: list[Charge] = []
    for charge in charges:
        for i, known in enumerate(merged):
            if known.day == charge.day and is_same_model(known.model, charge.model):
                merged[i] = _sum(known, charge)
                break
        else:
            merged.append(charge)
    return merged


def _summed(charges: Iterable[Charge]) -> list[Charge]:
    """Add up the lines of a day and model."""
    summed: dict[tuple[date, str], Charge] = {}
    for charge in charges:
        key = (charge.day, charge.model)
        summed[key] = _sum(summed[key], charge) if key in summed else charge
    return list(summed.values())


def _sum(one: Charge, other: Charge) -> Charge:
    return Charge(
        one.day,
        one.model,
        None if one.usd is None or other.usd is None else one.usd + other.usd,
        None if one.tokens is None or other.tokens is None else one.tokens + other.tokens,
        one.unpriced + other.unpriced,
        one.estimated + other.estimated,
    )


def _charges(path: Path) -> list[Charge]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = _columns(path, reader.fieldnames or ())
            charges = [_charge(path, reader.line_num, row, columns) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadSettings(f"{path} cannot be read ({error}); {_HELP}") from None
    if not charges:
        raise BadSettings(f"{path} has no lines; {_HELP}")
    return charges


def _columns(path: Path, found: Iterable[str]) -> dict[str, str]:
    named = {name.strip().casefold(): name for name in found}
    columns = {
        field: named[name] for field, names in _NAMES.items() for name in names if name in named
    }
    amounts = {"usd", "tokens", "input_tokens", "output_tokens"} & set(columns)
    if not {"day", "model"} <= set(columns) or not amounts:
        raise BadSettings(f"{path} has the columns {', '.join(named) or 'none'}; {_HELP}")
    return columns


def _charge(path: Path, line: int, row: Mapping[str, str], columns: Mapping[str, str]) -> Charge:
    def cell(field: str) -> str | None:
        return (row.get(columns[field]) or "").strip() or None if field in columns else None

    try:
        parts = [int(value) for name in ("input_tokens", "output_tokens") if (value := cell(name))]
        usd, tokens = cell("usd"), cell("tokens")
        return Charge(
            date.fromisoformat((cell("day") or "")[:10]),
            cell("model") or "",
            None if usd is None else Decimal(usd.lstrip("$")),
            int(tokens) if tokens is not None else sum(parts) if parts else None,
        )
    except (ValueError, InvalidOperation):
        raise BadSettings(f"{path}, line {line}: {dict(row)} is no charge; {_HELP}") from None


def _amount(charge: Charge | None, name: str) -> Decimal | int | None:
    amount: Decimal | int | None = 0 if charge is None else getattr(charge, name)
    return amount


def _unix(day: date) -> float:
    return float((day.toordinal() - _EPOCH) * DAY_S)


_EPOCH = date(1970, 1, 1).toordinal()
_BY_DAY = """
select {day}, case model when '' then %s else model end as named,
       coalesce(sum(teacher_pusd / 1000000), 0), coalesce(sum(teacher_pusd %% 1000000), 0),
       sum(input_tokens + output_tokens), count(*) filter (where teacher_pusd is null),
       count(*) filter (where estimated = 1)
from {entries} where task = %s and {since} and {before} and attempts > 0
group by 1, 2 order by 1, 2
"""
