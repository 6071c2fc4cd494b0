"""The figures of studies for other programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.bill.rails import Rail
from costmodel.money.pricing import HOURS_PER_MONTH
from costmodel.plan.spread import records
from costmodel.plan.study import Study
from costmodel.report.tables import RAILS

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

Records = Sequence[dict[str, float | str | bool | None]]


def csv_text(studies: Sequence[Study]) -> str:
    """The figures of each scenario as CSV with a header."""
    return csv_of(records(studies))


def csv_of(rows: Records) -> str:
    """Flat rows as CSV with a header."""
    target = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(target, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def write_bills(path: Path, bills: Mapping[str, Sequence[Rail]]) -> None:
    """A workbook: one sheet for each bill, whose totals and savings are formulas."""
    from openpyxl import Workbook

    book = Workbook()
    for empty in book.worksheets:
        book.remove(empty)
    for number, (name, rails) in enumerate(bills.items(), 1):
        sheet = book.create_sheet(f"{number} {_SHEET.sub(' ', name)}"[:31])
        sheet.append([name])
        sheet.append(["rail", "line", "US dollars a month", "how"])
        _fill(sheet, rails)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def _fill(sheet: Worksheet, rails: Sequence[Rail]) -> None:
    """Each rail's lines and their sum, then what the cascade saves against each other rail."""
    from openpyxl.styles import Font

    totals: dict[str, int] = {}
    for rail in rails:
        first = sheet.max_row + 1
        for line in rail.lines:
            sheet.append([RAILS[rail.name], line.name, float(line.usd), line.detail])
        sheet.append([RAILS[rail.name], "total", f"=SUM(C{first}:C{sheet.max_row})"])
        totals[rail.name] = sheet.max_row
    for name, row in totals.items():
        if name != "cascade":
            words = f"saving against {RAILS[name]}"
            sheet.append(["", words, f"=C{row}-C{totals['cascade']}"])
    for row in (1, 2, *totals.values()):
        for cell in sheet[row]:
            cell.font = Font(bold=True)
    for column, width in (("A", 20), ("B", 34), ("C", 20), ("D", 60)):
        sheet.column_dimensions[column].width = width
    for cell in sheet["C"][2:]:
        cell.number_format = "#,##0.00"


_SHEET = re.compile(r"[\[\]:*?/\\]")
"""What no sheet's name may hold."""


def focus_rows(name: str, rail: Rail, starts: datetime, account: str) -> Records:
    """A month's bill in columns of FOCUS 1.2 (FinOps Open Cost and Usage Specification).

    These are projected charges: `ChargeDescription` says so, and there is no invoice behind them.
    """
    ends = starts + timedelta(hours=HOURS_PER_MONTH)
    rows: list[dict[str, float | str | bool | None]] = []
    for line in rail.lines:
        usd = round(float(line.usd), 6)
        machines = "machines" in line.name
        rows.append(
            {
                "BillingAccountId": account,
                "BillingCurrency": "USD",
                "BillingPeriodStart": starts.isoformat(),
                "BillingPeriodEnd": ends.isoformat(),
                "ChargePeriodStart": starts.isoformat(),
                "ChargePeriodEnd": ends.isoformat(),
                "ChargeCategory": "Usage",
                "ChargeClass": None,
                "ChargeDescription": f"projected: {line.name} ({line.detail})".replace(" ()", ""),
                "ChargeFrequency": "Usage-Based",
                "BilledCost": usd,
                "EffectiveCost": usd,
                "ListCost": usd,
                "ContractedCost": usd,
                "ServiceCategory": "Compute" if machines else "AI and Machine Learning",
                "ServiceName": line.name,
                "ResourceName": name,
            }
        )
    return rows
