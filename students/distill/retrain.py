"""The next student: from kept texts of the traffic to parts that teach and parts that judge.

A row is on one side for good, by a hash of the row: what teaches never judges. Not by its text, as
what judges is a sample of the traffic as it came: a text that is a tenth of the traffic would judge
with all of its rows or with none. That its copy is learnt from is no leak, see `label.split`; among
what is learnt from, copies stay together. What the teacher answered teaches: escalations as they
are, audits 1 / propensity times over (at most `MOST_WEIGHT`), old labels as they are; escalations
alone would teach that everything is hard. Only fresh random draws judge: audits and drawn
escalations alike, at one propensity, younger than the last student's, so that no look at them was
had before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from students.certify.binomial import rows_to_prove
from students.errors import BadInputs
from students.label.labelled import LabelledSet
from students.label.split import LEARNT
from students.labels import LabelSchema, means_label
from students.task import Task
from students.texts.learnt import LEARNT_FILE
from students.texts.store import KeptText

JUDGES = 0.5
"""Where what judges begins; before it stands what is learnt from."""
_PARTS = (("train", 0.38), ("validation", 0.44), ("temperature", JUDGES), ("calibration", 0.8),
          ("test", 1.0))  # fmt: skip
"""Where each part ends, on the line from 0 to 1 that a row falls on."""
DRAWN_ONLY = ("validation", "temperature", "calibration", "test")
MOST_WEIGHT = 20
MOST_LOST = 0.05
FEWEST = 20
"""Rows that each part needs at least."""


@dataclass(frozen=True)
class Material:
    """What a student can be made of.

    `used` recognises the kept texts in it; `effective` is the effective number of training rows,
    (sum of weights)² / sum of squares; `lost` the share of drawn rows without an answer.
    """

    labelled: LabelledSet
    splits: dict[str, npt.NDArray[np.int64]]
    used: tuple[str, ...]
    until: float
    """Unix time of the youngest row; the next student is judged by younger ones."""
    effective: float
    lost: float
    escalations: int
    audits: int
    old: int
    of_another_teacher: int


def gather(
    task: Task,
    kept: Iterable[KeptText],
    old: LabelledSet | None,
    recognise: Callable[[str], str],
    since: float = 0.0,
) -> Material:
    """Divide kept texts into what teaches and what judges.

    Args:
        task: whose labels and promise.
        kept: the kept texts, the oldest first.
        old: labels of before, to learn from only.
        recognise: what the kept texts' hashes are made with.
        since: Unix time; older rows do not judge: the last student was judged by them.

    Raises:
        BadInputs: there is too little, or too much of what was drawn was lost; it says how much
            more traffic is needed.
    """
    teacher = identity_of(task)
    rows = [one for one in kept if one.kind != "input"]
    own = [one for one in rows if one.said.teacher == teacher]
    drawn = [one for one in own if one.propensity > 0]
    rarest = min((one.propensity for one in drawn), default=1.0)
    plain = {id(one) for one in drawn if _chance(one, "") * one.propensity < rarest}
    lost = sum(one.said.probabilities is None for one in drawn) / max(1, len(drawn))
    if lost > MOST_LOST:
        raise BadInputs(
            f"{lost:.1%} of the drawn answers were never compared, more than {MOST_LOST:.0%}: what "
            "is left is no random sample; raise teacher.timeout_s or lower audit_rate"
        )
    parts: dict[str, list[KeptText]] = {name: [] for name, _ in _PARTS}
    weights: list[int] = []
    for one in own:
        name = part_of(_chance(one, "part "), one.recognised)
        # What judges keeps the draws without an answer: the teacher may refuse what it is asked.
        if name in LEARNT and one.said.probabilities is None:
            continue
        if name == "train":
            parts[name].append(one)
            weights.append(_weight(one))
        elif id(one) in plain and (name in LEARNT or one.at > since):
            parts[name].append(one)
    return _material(task, parts, weights, old, recognise, lost, len(rows) - len(own))


def part_of(place: float, recognised: str) -> str:
    """Return the part that a row belongs to for good.

    Args:
        place: of the row, in [0, 1): whether it judges, and where.
        recognised: keyed hash of its text: what it is learnt for, if it does not judge.
    """
    if place < JUDGES:
        place = JUDGES * int(recognised[:12], 16) / 16**12
    return next(name for name, end in _PARTS if place < end)


def identity_of(task: Task) -> str:
    """Return what tells a teacher from another: rows of another one teach nothing here."""
    return f"{task.teacher.model}@{task.teacher.revision}"


def last_judged(work_dir: Path) -> float:
    """Return until when rows have judged a student already, Unix seconds; 0: never."""
    try:
        lines = (work_dir / LEARNT_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0.0
    return max((json.loads(line)["until"] for line in lines), default=0.0)


def _material(
    task: Task,
    parts: dict[str, list[KeptText]],
    weights: Sequence[int],
    old: LabelledSet | None,
    recognise: Callable[[str], str],
    lost: float,
    foreign: int,
) -> Material:
    _check_enough(task, parts, lost)
    schema = task.schema_
    everything = [one for name, _ in _PARTS for one in parts[name]]
    labelled = _labelled(schema, everything)
    ends = np.cumsum([len(parts[name]) for name, _ in _PARTS])
    splits = {
        name: np.arange(end - len(parts[name]), end, dtype=np.int64)
        for (name, _), end in zip(_PARTS, ends, strict=True)
    }
    train = np.repeat(splits["train"], np.array(weights, np.int64))
    known = None if old is None else _teaching(old, schema, recognise)
    if known is not None:
        train = np.concatenate([train, len(labelled) + np.arange(len(known))])
        labelled = labelled.joined(known)
    splits["train"] = train
    each = np.array([*weights, *([1] * (0 if known is None else len(known)))], float)
    return Material(
        labelled=labelled,
        splits=splits,
        used=tuple(one.recognised for one in everything),
        until=max(one.at for one in everything),
        effective=float(each.sum() ** 2 / (each**2).sum()),
        lost=lost,
        escalations=sum(one.kind == "escalation" for one in everything),
        audits=sum(one.kind == "audit" for one in everything),
        old=0 if known is None else len(known),
        of_another_teacher=foreign,
    )


def _check_enough(task: Task, parts: dict[str, list[KeptText]], lost: float) -> None:
    promise = task.promise
    needed = dict.fromkeys((name for name, _ in _PARTS), FEWEST)
    needed["calibration"] = rows_to_prove(promise.alpha, promise.delta) or FEWEST
    short = {name: n for name, n in needed.items() if len(parts[name]) < n}
    if short:
        words = ", ".join(f"{name} {len(parts[name]):,} of {n:,}" for name, n in short.items())
        raise BadInputs(
            f"too little was kept for another student: {words}; all but train come from random "
            f"draws alone: wait for more traffic, or raise audit_rate (now {task.audit_rate:g})"
        )


def _teaching(
    old: LabelledSet, schema: LabelSchema, recognise: Callable[[str], str]
) -> LabelledSet | None:
    """Return the old rows that may teach: copies of what validates are left out of them."""
    if old.schema.names != schema.names:
        return None
    may = [
        i
        for i, text in enumerate(old.texts)
        if old.usable[i] and part_of(0.0, recognise(text)) == "train"
    ]
    return old.take(np.array(may, np.int64)) if may else None


def _labelled(schema: LabelSchema, rows: Sequence[KeptText]) -> LabelledSet:
    n = len(rows)
    nothing = [0.0] * len(schema)
    probabilities = np.array([one.said.probabilities or nothing for one in rows], np.float32)
    probabilities = probabilities.reshape(n, len(schema))
    unanswered = np.array([one.said.probabilities is None for one in rows], bool)
    other = np.where(unanswered, 1.0, [one.said.other for one in rows]).astype(np.float32)
    no_label = np.array([one.said.teacher_label == "" for one in rows], bool)
    return LabelledSet(
        schema,
        tuple(one.said.text for one in rows),
        probabilities,
        other,
        np.zeros(n, bool),
        np.full(n, -1, np.int32),
        means_label(probabilities, other) & ~no_label,
    )


def _weight(one: KeptText) -> int:
    """How often a row teaches: an audit stands for all the kept answers that were not drawn."""
    if one.kind == "escalation":
        return 1
    return max(1, min(MOST_WEIGHT, round(1.0 / one.propensity)))


def _chance(one: KeptText, purpose: str) -> float:
    """Return a number in [0, 1) that is the same at every look at the same row."""
    row = f"{purpose}{one.at!r} {one.request_id}"
    digest = hashlib.blake2b(row.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
