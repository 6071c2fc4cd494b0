"""Which rows judge and which are learnt from: random rows of the pile, and no leaks between.

A certificate speaks of traffic, so its rows must be a random sample of the traffic *as it came*:
copies as often as they came, templates with their share. So calibration and test are drawn by rows,
before anything looks at what the rows have in common. That a text is judged and its copy is learnt
from is no leak: future traffic repeats what was learnt, too. Among what is learnt from, near-copies
stay together, or validation would choose the student that remembers best.

Every draw is a hash of the row and the seed: rows that are added move no old row.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from students.errors import BadInputs
from students.label.inputs import SPLITS, Inputs

Indices = dict[str, npt.NDArray[np.int64]]
Int64 = npt.NDArray[np.int64]

DEFAULT_FRACTIONS: Mapping[str, float] = {
    "train": 0.55,
    "validation": 0.1,
    "temperature": 0.05,
    "calibration": 0.15,
    "test": 0.15,
}
JUDGED = ("calibration", "test")
LEARNT = ("train", "validation", "temperature")
LARGE_SHARE, LARGE_GROUP = 0.05, 20
"""Near-copies are a large group when they are more than both: a share of what is learnt, texts."""
_HELD_OUT = {"train": 0, "validation": 1, "temperature": 2, "calibration": 3, "test": 3}


def split_inputs(
    inputs: Inputs, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, seed: int = 0
) -> Indices:
    """Divide the pile into train, validation, temperature, calibration and test.

    Rows whose split is given keep it, but of near-copies only the most held-out ones (calibration
    and test count alike): whoever gives splits wants no leak between them. Of the others,
    calibration and test are random rows; with times the latest rows, divided at random; with
    groups one random row of each group drawn. The rest is learnt from: a text once, near-copies in
    the same split, near-copies of given rows not at all.

    Returns:
        Sorted text indices by split; every split of `SPLITS` is a key. In calibration and test a
        text stands as often as its rows were drawn, in the others once. Deterministic by `seed`.

    Raises:
        BadInputs: the fractions are not of known splits or do not sum to 1, or the pile has times
            and groups.
    """
    _check_fractions(fractions)
    judged, rest = _judge(inputs, fractions, seed)
    given = _given(inputs)
    taken = {near_copy_key(inputs.texts[i]) for i in given}
    chosen = _learn(inputs, rest, taken, fractions, seed)
    for name, rows in judged.items():
        chosen[name] = inputs.rows[rows].tolist()
    for text, names in given.items():
        for name in names:
            chosen[name].append(text)
    return {name: np.array(sorted(rows), np.int64) for name, rows in chosen.items()}


def sample_rows(inputs: Inputs, texts: int, seed: int = 0) -> Inputs:
    """Return random rows of the pile that hold so many texts; a larger sample has all of them."""
    chosen: set[int] = set()
    kept: list[int] = []
    for row in _shuffled(inputs, seed):
        text = int(inputs.rows[row])
        if len(chosen) == texts and text not in chosen:
            break
        chosen.add(text)
        kept.append(int(row))
    return inputs.keep_rows(np.array(sorted(kept), np.int64))


def asking_order(inputs: Inputs, seed: int = 0) -> list[int]:
    """Return all texts, in the order in which larger and larger samples of the pile need them."""
    return list(dict.fromkeys(inputs.rows[_shuffled(inputs, seed)].tolist()))


def _shuffled(inputs: Inputs, seed: int) -> Int64:
    return np.argsort(_uniform(inputs, np.arange(len(inputs.rows)), seed, "sample"))


def drop_spare(
    inputs: Inputs, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, seed: int = 0
) -> Inputs:
    """Return the pile without rows that neither judge nor are learnt from: nobody need ask them.

    There are such rows only where groups judge, by one row each. The split stays the same.
    """
    if inputs.group is None:
        return inputs
    judged, rest = _judge(inputs, fractions, seed)
    kept = np.sort(np.concatenate([rest, *judged.values()]))
    return inputs.keep_rows(kept, spare=len(inputs.rows) - len(kept))


def unlike(texts: Sequence[str], known: Collection[str]) -> npt.NDArray[np.bool_]:
    """Whether each text is unlike all `known` ones, up to case, marks, spacing and numbers."""
    keys = {near_copy_key(text) for text in known}
    return np.array([near_copy_key(text) not in keys for text in texts], np.bool_)


def _judge(
    inputs: Inputs, fractions: Mapping[str, float], seed: int
) -> tuple[dict[str, Int64], Int64]:
    """Draw calibration and test among the rows without a split; return them, and what is learnt."""
    if inputs.time is not None and inputs.group is not None:
        raise BadInputs("inputs.time and inputs.group are both given; leave one out")
    free = np.flatnonzero([name is None for name in inputs.split])
    shares = np.array([fractions.get(name, 0.0) for name in JUDGED])
    total = float(shares.sum())
    place = _uniform(inputs, free, seed, "judge")
    rest = np.ones(len(free), bool)
    if inputs.time is not None:
        # Not by their place: of rows of one moment those with the highest would all be test rows.
        ties = _uniform(inputs, free, seed, "latest")
        latest = np.lexsort((ties, inputs.time[free]))[::-1][: round(total * len(free))]
        drawn, place = np.isin(np.arange(len(free)), latest), place * total
    elif inputs.group is not None:
        names, member = np.unique([inputs.group[i] for i in free], return_inverse=True)
        of_group = np.array([_hash(f"{seed}\0group\0{name}") for name in names.tolist()])
        drawn, rest = _first_of_each(member, place), of_group[member] >= total
        drawn, place = drawn & ~rest, of_group[member]
    else:
        drawn = place < total
    at = np.where(place < shares[0], *JUDGED)
    # Nobody learns from a customer that judges.
    return {name: free[drawn & (at == name)] for name in JUDGED}, free[rest & ~drawn]


def _first_of_each(member: Int64, place: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mark of each group the row that comes first at random."""
    order = np.lexsort((place, member))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(member[order]) != 0
    marked = np.zeros(len(order), bool)
    marked[order[first]] = True
    return marked


def _given(inputs: Inputs) -> dict[int, list[str]]:
    """The given splits of each text, without those that would leak."""
    level: dict[str, int] = {}
    rows = [(int(t), name) for t, name in zip(inputs.rows, inputs.split, strict=True) if name]
    keys = {text: near_copy_key(inputs.texts[text]) for text, _ in rows}
    for text, name in rows:
        level[keys[text]] = max(level.get(keys[text], 0), _HELD_OUT[name])
    kept: dict[int, list[str]] = {}
    for text, name in rows:
        names = kept.setdefault(text, [])
        if _HELD_OUT[name] == level[keys[text]] and (name in JUDGED or name not in names):
            names.append(name)
    return kept


def _learn(
    inputs: Inputs, rows: Int64, taken: set[str], fractions: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Divide the texts of `rows` by near-copy group; groups of given rows are left out.

    A group is drawn whole, so a large template could leave train at once: it is always learnt from.
    """
    names = [name for name in LEARNT if fractions.get(name, 0.0) > 0]
    learnt: dict[str, list[int]] = {name: [] for name in SPLITS}
    if not names:
        return learnt
    ends = np.cumsum([fractions[name] for name in names])
    groups: dict[str, list[int]] = defaultdict(list)
    for text in np.unique(inputs.rows[rows]).tolist():
        groups[near_copy_key(inputs.texts[text])].append(text)
    large = max(LARGE_GROUP, LARGE_SHARE * sum(map(len, groups.values())))
    for key, texts in groups.items():
        if key in taken:
            continue
        place = 0.0 if len(texts) > large else _hash(f"{seed}\0learn\0{key}") * ends[-1]
        at = min(int(np.searchsorted(ends, place, "right")), len(names) - 1)
        learnt[names[at]].extend(texts)
    return learnt


def _uniform(inputs: Inputs, rows: Int64, seed: int, purpose: str) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each row: a hash of its text, its copy and the seed."""
    return np.array(
        [
            _hash(f"{seed}\0{purpose}\0{inputs.copy[i]}\0{inputs.texts[inputs.rows[i]]}")
            for i in rows
        ]
    )


def _hash(content: str) -> float:
    digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


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


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = [name for name in fractions if name not in SPLITS]
    if unknown or any(f < 0 for f in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-9:
        raise BadInputs(
            f"split fractions are {dict(fractions)}; give shares of {', '.join(SPLITS)} that sum "
            "to 1"
        )
