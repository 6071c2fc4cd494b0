"""What a pile and its labels hold, said before and after they are paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from students.label.inputs import SPLITS, Inputs
from students.labels import LabelSchema

FEW = 10
"""Answers below which a label has next to none to learn from, and none or one to be judged by."""
_SHOWN = 12

Ints = npt.NDArray[np.integer]


def count_labels(schema: LabelSchema, labels: Ints) -> dict[str, int]:
    """Count each label of the task in (N,) indices, those that never occur too; -1 is none."""
    found = np.bincount(labels[labels >= 0], minlength=len(schema))
    return dict(zip(schema.names, found.tolist(), strict=True))


def what_was_read(path: Path, inputs: Inputs, schema: LabelSchema) -> Iterator[str]:
    """Say what a file held: rows, what of them does not count as it stands, gold by label."""
    dropped, rows = inputs.dropped, len(inputs.rows)
    kinds = (
        (dropped.empty, "without text, left out"),
        (dropped.duplicates, "copies of others, asked about once"),
        (dropped.conflicting, "texts whose gold labels contradict each other, taken as unknown"),
    )
    seen = "".join(f"; {count:,} {kind}" for count, kind in kinds if count)
    yield f"Read {rows + dropped.empty:,} rows of {path}: {len(inputs):,} texts{seen}."
    known = int((inputs.gold >= 0).sum())
    if known:
        counts = count_labels(schema, inputs.gold)
        yield f"Gold of {known:,} of them: {by_size(counts)}{_never(counts)}."


def what_is_missing(splits: Mapping[str, Sequence[int] | Ints]) -> str | None:
    """Say which splits have no row, so that no student can be made; None if all have some."""
    empty = [name for name in SPLITS if len(splits.get(name, ())) == 0]
    if not empty:
        return None
    return (
        f"no row of these inputs is in the split {', '.join(empty)}, and a student needs rows in "
        "each: these labels will not do for `raisehand distill`"
    )


def by_size(counts: Mapping[str, int]) -> str:
    """Name the labels that occur with their counts, the most frequent first."""
    met = sorted((item for item in counts.items() if item[1]), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in met[:_SHOWN])
    rest = met[_SHOWN:]
    if rest:
        shown += f", {len(rest)} more with {rest[-1][1]:,} to {rest[0][1]:,} each"
    return shown


def rare(counts: Mapping[str, int]) -> str | None:
    """Name the labels that hardly ever occur; None if all occur."""
    few = sorted((item for item in counts.items() if item[1] < FEW), key=lambda item: item[1])
    if not few:
        return None
    names = ", ".join(f"{name} {count}" for name, count in few[:_SHOWN])
    more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
    return f"{names}{more}: too few to be learnt or judged"


def _never(counts: Mapping[str, int]) -> str:
    absent = [name for name, count in counts.items() if not count]
    more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
    return f"; never: {', '.join(absent[:_SHOWN])}{more}" if absent else ""
