"""Consecutive rows of one file, and the answers that stand beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Arrow = Any
"""A table or column of pyarrow, which has no types for mypy."""

FIELDS = ("label", "confidence", "route", "reason", "cost_usd")
"""What is written beside each row."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the text of a file is spelt, where it is not Parquet; as `inputs` of a task says it."""

    encoding: str = "utf-8"
    delimiter: str | None = None
    """None: the one under which the header has the column."""


USUAL = Spelling()


@dataclass(frozen=True, eq=False)
class RowsRead:
    """Rows as they were read.

    Attributes:
        texts: (N,) Arrow strings, null where a row holds no text.
        body: the rows, in whatever form their kind of table writes them again.
        faults: why a row holds no text, where it is not simply empty.
    """

    texts: Arrow
    body: Any
    faults: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class AnswerColumns:
    """What N rows are answered, by code: `labels[i]` is a place in `label_names`, -1 for none."""

    label_names: Sequence[str]
    labels: Int64
    confidences: Float32
    """NaN where the student said nothing."""
    route_names: Sequence[str]
    routes: Int64
    reason_names: Sequence[str]
    reasons: Int64
    amounts: Sequence[Decimal]
    """The different costs there are, US dollars."""
    costs: Int64

    def rows(self) -> Iterator[tuple[str | None, float | None, str, str, Decimal]]:
        """Yield the fields of each row, for tables that are written row by row."""
        names: list[str | None] = [*self.label_names, None]
        columns = (self.labels, self.confidences, self.routes, self.reasons, self.costs)
        for label, sure, route, reason, cost in zip(*(c.tolist() for c in columns), strict=True):
            yield (
                names[label],
                sure if sure == sure else None,  # NaN is not itself
                self.route_names[route],
                self.reason_names[reason],
                self.amounts[cost],
            )
