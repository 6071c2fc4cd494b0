"""The figures of studies for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from costmodel.plan.spread import records
from costmodel.plan.study import Study

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
