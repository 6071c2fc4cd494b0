"""The figures of studies for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from costmodel.plan.spread import records
from costmodel.plan.study import Study


def csv_text(studies: Sequence[Study]) -> str:
    """The figures of each scenario as CSV with a header."""
    rows = records(studies)
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()
