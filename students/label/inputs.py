"""The pile of real inputs as it came: distinct texts, and the rows of the file that hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from costmodel.errors import BadTable
from costmodel.inputs.tables.read import read_table
from costmodel.inputs.tables.table import Table
from costmodel.inputs.tables.times import TimesOfOneKind
from costmodel.inputs.tables.words import KnownWords
from students.errors import BadInputs
from students.labels import LabelSchema
from students.sections import InputsSection

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Cell = TypeVar("Cell")

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
    named = (section.text, section.gold, section.split, section.time, section.group)
    try:
        table = read_table(
            section.path,
            [name for name in named if name],
            encoding=section.encoding,
            delimiter=section.delimiter,
        )
        texts = table.texts(section.text)
        kept = [i for i, text in enumerate(texts) if text]
        if not kept:
            raise BadInputs(f"{section.path} has no row with text in column {section.text!r}")
        gold = _column(table, section.gold, kept, _gold_of(schema))
        split = _column(table, section.split, kept, _split)
        time = _column(table, section.time, kept, _time_of())
        group = _column(table, section.group, kept, _group)
    except BadTable as error:
        raise BadInputs(str(error)) from None
    return make_inputs(
        [texts[i] for i in kept],
        None if gold is None else np.array(gold, np.int32),
        split,
        time=None if time is None else np.array(time),
        group=group,
        empty=len(texts) - len(kept),
    )


def _column(
    table: Table, name: str | None, kept: Sequence[int], meaning: Callable[[str], Cell]
) -> list[Cell] | None:
    """What each kept row says in a column; a word is understood once, however often it stands."""
    if name is None:
        return None
    words = table.words(name)
    known: dict[str, Cell] = {}
    for row in kept:
        if words[row] not in known:
            try:
                known[words[row]] = meaning(words[row])
            except BadInputs as error:
                raise BadInputs(f"{table.place(row)} {error}") from None
    return [known[words[row]] for row in kept]


def _gold_of(schema: LabelSchema) -> Callable[[str], int]:
    labels = KnownWords(schema.names)

    def gold(word: str) -> int:
        found = labels.find(word) if word else -1
        if found is None:
            known = ", ".join(schema.names[:10]) + (", …" if len(schema) > 10 else "")
            raise BadInputs(
                f"has the gold label {word!r}, which the task does not have; its {len(schema)} "
                f"labels are {known}"
            )
        return found

    return gold


def _split(word: str) -> str | None:
    if word and word not in SPLITS:
        raise BadInputs(f"has the split {word!r}; it must be one of {', '.join(SPLITS)}, or empty")
    return word or None


def _time_of() -> Callable[[str], float]:
    times = TimesOfOneKind()

    def time(word: str) -> float:
        try:
            return times.seconds_of(word)
        except ValueError:
            raise BadInputs(
                f"has the time {word[:40]!r}; numbers or ISO 8601 times are needed, all of one "
                "kind, e.g. 2026-11-29T08:30:00Z"
            ) from None

    return time


def _group(word: str) -> str:
    if not word:
        raise BadInputs("has no group; every row needs one, if need be its own")
    return word
