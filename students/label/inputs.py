"""The pile of real inputs: read, cleaned of empty rows and copies, divided without leaks."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from students.errors import BadInputs
from students.label.files import read_columns
from students.labels import LabelSchema
from students.task import InputsSection

Int32 = npt.NDArray[np.int32]
Indices = dict[str, npt.NDArray[np.int64]]

SPLITS = ("train", "validation", "temperature", "calibration", "test")
DEFAULT_FRACTIONS: Mapping[str, float] = {
    "train": 0.55,
    "validation": 0.1,
    "temperature": 0.05,
    "calibration": 0.15,
    "test": 0.15,
}
_HELD_OUT = {"train": 0, "validation": 1, "temperature": 2, "calibration": 3, "test": 3}


@dataclass(frozen=True)
class Dropped:
    """Rows that were read and not kept."""

    empty: int = 0
    duplicates: int = 0


@dataclass(frozen=True, eq=False)
class Inputs:
    """N distinct texts.

    Attributes:
        texts: N texts, stripped, in file order.
        gold: (N,), index of the true label, -1 where there is none.
        split: N names of a split, None where the file gives none.
        sha256: fingerprint of texts, gold and splits.
        dropped: how many rows of the file are not here, and why.
    """

    texts: tuple[str, ...]
    gold: Int32
    split: tuple[str | None, ...]
    sha256: str
    dropped: Dropped = Dropped()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: npt.NDArray[np.integer]) -> Inputs:
        """Return the rows at `index`, in that order."""
        return make_inputs(
            [self.texts[i] for i in index], self.gold[index], [self.split[i] for i in index]
        )


def make_inputs(
    texts: Sequence[str],
    gold: Int32 | None = None,
    split: Sequence[str | None] | None = None,
    dropped: Dropped = Dropped(),
) -> Inputs:
    """Build inputs from rows in memory, exactly as they are."""
    labels = np.full(len(texts), -1, np.int32) if gold is None else gold.astype(np.int32)
    splits = (None,) * len(texts) if split is None else tuple(split)
    content = json.dumps([list(texts), labels.tolist(), splits], ensure_ascii=True)
    return Inputs(
        tuple(texts), labels, splits, hashlib.sha256(content.encode()).hexdigest(), dropped
    )


def read_inputs(section: InputsSection, schema: LabelSchema) -> Inputs:
    """Read CSV, JSONL, Parquet or a Hugging Face dataset on disk.

    Of exact copies one stays: the most held-out one (test before calibration before train), so
    that no text is both trained on and judged by.

    Raises:
        BadInputs: unreadable file, missing column, gold that is not a label of the task, unknown
            split, or no text left.
    """
    names = [name for name in (section.text, section.gold, section.split) if name]
    columns = read_columns(section.path, names, encoding=section.encoding)
    texts = [_text(value) for value in columns[section.text]]
    n = len(texts)
    gold = (
        [_gold(v, i, schema) for i, v in enumerate(columns[section.gold])] if section.gold else None
    )
    split = [_split(v, i) for i, v in enumerate(columns[section.split])] if section.split else None

    first: dict[str, int] = {}
    for i, text in enumerate(texts):
        if not text:
            continue
        rival = first.get(text)
        if rival is None or _level(split, i) > _level(split, rival):
            first[text] = i
    kept = sorted(first.values())
    if not kept:
        raise BadInputs(f"{section.path} has no row with text in column {section.text!r}")
    empty = sum(not text for text in texts)
    return make_inputs(
        [texts[i] for i in kept],
        None if gold is None else np.array([gold[i] for i in kept], np.int32),
        None if split is None else [split[i] for i in kept],
        Dropped(empty=empty, duplicates=n - empty - len(kept)),
    )


def split_inputs(
    inputs: Inputs, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, seed: int = 0
) -> Indices:
    """Divide rows into train, validation, temperature, calibration and test.

    Rows whose split is given keep it. The others are divided at random in groups of near-copies,
    so that the shares of those rows are `fractions` as closely as groups allow. Of one group only
    the most held-out rows stay (calibration and test count alike): a near-copy of a judged row is
    dropped from everything the student learns from.

    Returns:
        Sorted row indices by split; every split of `SPLITS` is a key. Deterministic by `seed`.

    Raises:
        BadInputs: the fractions are not of known splits or do not sum to 1.
    """
    _check_fractions(fractions)
    groups: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(inputs.texts):
        groups[near_copy_key(text)].append(i)
    chosen: dict[str, list[int]] = {name: [] for name in SPLITS}
    free = []
    for rows in groups.values():
        given = [s for i in rows if (s := inputs.split[i]) is not None]
        if not given:
            free.append(rows)
            continue
        level = max(_HELD_OUT[s] for s in given)
        for i in rows:
            split = inputs.split[i]
            if split is not None and _HELD_OUT[split] == level:
                chosen[split].append(i)
    for split, rows in _deal(free, fractions, seed):
        chosen[split].extend(rows)
    return {name: np.array(sorted(rows), np.int64) for name, rows in chosen.items()}


def near_copy_key(text: str) -> str:
    """Normalise a text so that near-copies share a key.

    Case, accents' encoding, punctuation, spacing and numbers do not tell texts apart.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    key = " ".join(re.sub(r"\d+", "0", folded).translate(_PUNCTUATION).split())
    return key or text


class _Punctuation(dict[int, str]):
    """Maps every character that is neither letter, mark nor digit to a space, on demand."""

    def __missing__(self, code: int) -> str:
        kept = unicodedata.category(chr(code))[0] in "LMN"
        self[code] = chr(code) if kept else " "
        return self[code]


_PUNCTUATION = _Punctuation()


def _deal(
    groups: list[list[int]], fractions: Mapping[str, float], seed: int
) -> list[tuple[str, list[int]]]:
    """Hand each group to the split that is furthest behind its share."""
    names = [name for name in SPLITS if fractions.get(name, 0) > 0]
    share = np.array([fractions[name] for name in names])
    got = np.zeros(len(names))
    dealt = []
    for g in np.random.default_rng(seed).permutation(len(groups)):
        rows = groups[g]
        total = got.sum() + len(rows)
        to = int((share * total - got).argmax())
        got[to] += len(rows)
        dealt.append((names[to], rows))
    return dealt


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = [name for name in fractions if name not in SPLITS]
    if unknown or any(f < 0 for f in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-9:
        raise BadInputs(
            f"split fractions are {dict(fractions)}; give shares of {', '.join(SPLITS)} that sum "
            "to 1"
        )


def _level(split: Sequence[str | None] | None, row: int) -> int:
    name = split[row] if split else None
    return -1 if name is None else _HELD_OUT[name]


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
