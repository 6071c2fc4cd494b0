"""The pile of real inputs as it came: distinct texts, and the rows of the file that hold them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from students.errors import BadInputs
from students.label.files import read_columns
from students.labels import LabelSchema
from students.task import InputsSection

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

SPLITS = ("train", "validation", "temperature", "calibration", "test")


@dataclass(frozen=True)
class Dropped:
    """What was read and does not count as it stands in the file.

    `empty` rows have no text. `duplicates` are further copies of a text: the teacher is asked about
    it once, but the copies stay rows of the pile. `conflicting` texts come with several gold
    labels: theirs counts as unknown. `spare` rows are of a group that judges by another row.
    """

    empty: int = 0
    duplicates: int = 0
    conflicting: int = 0
    spare: int = 0


@dataclass(frozen=True, eq=False)
class Inputs:
    """N distinct texts in M rows.

    Attributes:
        texts: N texts, stripped, in order of their first row.
        gold: (N,), index of the true label, -1 where there is none or rows contradict each other.
        rows: (M,), which text each row of the pile holds: copies count as often as they came.
        copy: (M,), how many rows before it held the same text; a row is known by text and copy.
        split: M names of a split, None where the file gives none.
        time: (M,), when each row came, in any unit; None without a time column.
        group: M customers, conversations, …; None without a group column.
        sha256: fingerprint of all that.
        dropped: what the file held beyond that.
    """

    texts: tuple[str, ...]
    gold: Int32
    rows: Int64
    copy: Int64
    split: tuple[str | None, ...]
    time: npt.NDArray[np.float64] | None
    group: tuple[str, ...] | None
    sha256: str
    dropped: Dropped = Dropped()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: npt.NDArray[np.integer]) -> Inputs:
        """Return the texts at `index`, in that order, with the rows that hold them."""
        place = np.full(len(self), -1, np.int64)
        place[index] = np.arange(len(index))
        kept = np.flatnonzero(place[self.rows] >= 0)
        return _inputs(
            tuple(self.texts[i] for i in index),
            self.gold[index],
            place[self.rows[kept]],
            self.copy[kept],
            tuple(self.split[i] for i in kept),
            None if self.time is None else self.time[kept],
            None if self.group is None else tuple(self.group[i] for i in kept),
            self.dropped,
        )

    def keep_rows(self, kept: Int64, *, spare: int = 0) -> Inputs:
        """Return the pile without its other rows; texts that no row holds any more go, too.

        `spare` is how many of the others are counted as such.
        """
        index, rows = np.unique(self.rows[kept], return_inverse=True)
        return _inputs(
            tuple(self.texts[i] for i in index),
            self.gold[index],
            rows.astype(np.int64),
            self.copy[kept],
            tuple(self.split[i] for i in kept),
            None if self.time is None else self.time[kept],
            None if self.group is None else tuple(self.group[i] for i in kept),
            replace(self.dropped, spare=self.dropped.spare + spare),
        )


def make_inputs(
    texts: Sequence[str],
    gold: Int32 | None = None,
    split: Sequence[str | None] | None = None,
    *,
    time: npt.NDArray[np.float64] | None = None,
    group: Sequence[str] | None = None,
    empty: int = 0,
) -> Inputs:
    """Build inputs from M rows in memory, exactly as they are; copies become rows of one text."""
    first: dict[str, int] = {}
    copies: list[int] = []
    rows = np.empty(len(texts), np.int64)
    copy = np.empty(len(texts), np.int64)
    truth: list[int] = []
    conflicting: set[int] = set()
    for i, text in enumerate(texts):
        at = first.setdefault(text, len(first))
        if at == len(copies):
            copies.append(0)
            truth.append(-1)
        rows[i], copy[i] = at, copies[at]
        copies[at] += 1
        label = -1 if gold is None else int(gold[i])
        if label >= 0 and truth[at] not in (-1, label):
            conflicting.add(at)
        elif label >= 0:
            truth[at] = label
    for at in conflicting:
        truth[at] = -1
    return _inputs(
        tuple(first),
        np.array(truth, np.int32),
        rows,
        copy,
        (None,) * len(texts) if split is None else tuple(split),
        time,
        None if group is None else tuple(group),
        Dropped(empty, len(texts) - len(first), len(conflicting)),
    )


def _inputs(
    texts: tuple[str, ...],
    gold: Int32,
    rows: Int64,
    copy: Int64,
    split: tuple[str | None, ...],
    time: npt.NDArray[np.float64] | None,
    group: tuple[str, ...] | None,
    dropped: Dropped,
) -> Inputs:
    order = None if time is None else time.tolist()
    content = [list(texts), gold.tolist(), rows.tolist(), copy.tolist(), split, order, group]
    digest = hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()
    return Inputs(texts, gold, rows, copy, split, time, group, digest, dropped)


def read_inputs(section: InputsSection, schema: LabelSchema) -> Inputs:
    """Read the file that a task names.

    Raises:
        BadInputs: unreadable file, missing column, gold that is not a label of the task, unknown
            split, a time that is none, or no text left.
    """
    names = [
        name
        for name in (section.text, section.gold, section.split, section.time, section.group)
        if name
    ]
    columns = read_columns(section.path, names, encoding=section.encoding)
    texts = [_text(value) for value in columns[section.text]]
    kept = [i for i, text in enumerate(texts) if text]
    if not kept:
        raise BadInputs(f"{section.path} has no row with text in column {section.text!r}")

    def column(name: str | None) -> list[tuple[int, object]] | None:
        return None if name is None else [(i, columns[name][i]) for i in kept]

    gold, split = column(section.gold), column(section.split)
    time, group = column(section.time), column(section.group)
    return make_inputs(
        [texts[i] for i in kept],
        None if gold is None else np.array([_gold(v, i, schema) for i, v in gold], np.int32),
        None if split is None else [_split(v, i) for i, v in split],
        time=None if time is None else np.array([_time(v, i) for i, v in time]),
        group=None if group is None else [_group(v, i) for i, v in group],
        empty=len(texts) - len(kept),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _gold(value: object, row: int, schema: LabelSchema) -> int:
    name = _text(value)
    if not name:
        return -1
    if name not in schema:
        known = ", ".join(schema.names[:10]) + (", …" if len(schema) > 10 else "")
        raise BadInputs(
            f"row {row + 1} has the gold label {name!r}, which the task does not have; its "
            f"{len(schema)} labels are {known}"
        )
    return schema.index(name)


def _split(value: object, row: int) -> str | None:
    name = _text(value)
    if not name:
        return None
    if name not in SPLITS:
        raise BadInputs(
            f"row {row + 1} has the split {name!r}; it must be one of {', '.join(SPLITS)}, or empty"
        )
    return name


def _time(value: object, row: int) -> float:
    """Seconds since 1970 of an ISO 8601 time (UTC if it says nothing), or a number as it is."""
    if isinstance(value, datetime):
        moment = value
    else:
        text = _text(value)
        with suppress(ValueError):
            if math.isfinite(number := float(text)):
                return number
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise BadInputs(
                f"row {row + 1} has the time {text[:40]!r}; a number or an ISO 8601 time is "
                "needed, e.g. 2026-11-29T08:30:00Z"
            ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _group(value: object, row: int) -> str:
    name = _text(value)
    if not name:
        raise BadInputs(f"row {row + 1} has no group; every row needs one, if need be its own")
    return name
