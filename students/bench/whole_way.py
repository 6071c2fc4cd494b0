"""Broken promises over the whole way: a file is read, split, looked at and certified.

Beside each pile runs a usual way of taking calibration rows, which shows that the simulation sees
a broken promise. The student is simulated; everything between its answers and the file is what
`raisehand label` and `raisehand distill` run.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from students.bench.traffic import (
    LABELS,
    Ints,
    Law,
    SimulatedStudent,
    SimulatedTraffic,
    copied,
    customers,
    half_way,
    templated,
)
from students.certify.certify import certify, grid_from_scores
from students.certify.uses import row_ids, take_use
from students.errors import NotCertifiable
from students.label.inputs import Inputs, read_inputs
from students.label.split import DEFAULT_FRACTIONS, Indices, near_copy_key, split_inputs
from students.labels import LabelSchema
from students.sections import InputsSection, PromiseSection

ROWS, FIRST_ROWS, GROWTH = 2000, 1000, 1.05
"""Of a pile; at the first of ten looks, and the growth from look to look."""
AT_ONCE = 10
"""Deployments that a process takes at a time."""
Way = Callable[[Inputs, Indices, int], Indices]
"""How else rows are divided, given how they are here and the seed."""


def _together(inputs: Inputs, split: Indices, seed: int) -> Indices:
    """Draw groups of near-copies, each whole, as one does against leaks."""
    groups = np.unique([near_copy_key(text) for text in inputs.texts], return_inverse=True)[1]
    drawn = np.random.default_rng(seed).random(groups.max() + 1) < DEFAULT_FRACTIONS["calibration"]
    return split | {"calibration": np.flatnonzero(drawn[groups])}


def _once(inputs: Inputs, split: Indices, seed: int) -> Indices:
    """Drop exact copies, as one does to pay for no text twice."""
    return split | {"calibration": np.unique(split["calibration"])}


def _uncounted(inputs: Inputs, split: Indices, seed: int) -> Indices:
    return split


def _plainly(inputs: Inputs, split: Indices, seed: int) -> Indices:
    """Draw rows without a look at time or customer."""
    return split_inputs(replace(inputs, time=None, group=None), seed=seed)


@dataclass(frozen=True, eq=False)
class Pile:
    """One kind of pile, and the usual way to take calibration rows from it.

    Attributes:
        name: of the pile.
        traffic: what it is drawn from; its late law is what the promise is about.
        columns: of the file that the task names beside the text.
        learns: whether the student is right on every text it has learnt from.
        looks: distillations, each with another student, on a pile that grows.
        usual: what it is called, and how it divides; None without one.
        usual_law: what a promise made that way is about; None: the same.
    """

    name: str
    traffic: SimulatedTraffic
    columns: tuple[str, ...] = ()
    learns: bool = False
    looks: int = 1
    usual: tuple[str, Way] | None = None
    usual_law: Law | None = None

    def places(self, inputs: Inputs, index: Ints) -> Ints:
        """Where the texts at `index` of a pile stand in the population."""
        known = self._known
        return np.array([known[inputs.texts[i]] for i in index], np.int64)

    @cached_property
    def _known(self) -> dict[str, int]:
        return {text: i for i, text in enumerate(self.traffic.texts)}


@dataclass(frozen=True)
class PileCell:
    """One way on one pile under one promise, over all deployments."""

    pile: str
    promise: str
    way: str
    guaranteed: bool
    n_calibration: float
    """Mean number of calibration rows."""
    broken: float
    """Share of deployments that broke a promise at any look."""
    refused: float
    """Share of looks that were refused."""
    coverage: float
    """Mean true coverage of a look, 0 where refused."""
    excess: float
    """broken - delta - 3 standard errors: above 0 only if the guarantee is violated."""


def piles() -> tuple[Pile, ...]:
    """Make all kinds; each student alone disagrees on more than the promise allows."""
    groups = customers(10_000, large=0.1, rows=40, wrong=0.3, elsewhere=0.03)
    by_row = np.full(len(groups.texts), 1 / len(groups.texts))
    plain = templated(0.0, 0.0, 0.055)
    together: tuple[str, Way] = ("near-copies kept together", _together)
    return (
        Pile("no template", plain, usual=together),
        Pile("template, 10 %", templated(0.1, 0.5, 0.02), usual=together),
        Pile("template, 30 %", templated(0.3, 0.2, 0.01), usual=together),
        Pile("copies, 30 %", copied(0.3, 30, 5, 0.02), usual=("each text once", _once)),
        Pile("copies, 30 %, learnt by heart", copied(0.3, 30, 5, 0.08), learns=True),
        Pile(
            "new template half-way",
            templated(0.3, 0.2, 0.01, half_way),
            columns=("time",),
            usual=("rows of any time", _plainly),
        ),
        Pile(
            "customers",
            groups,
            columns=("group",),
            usual=("rows of any customer", _plainly),
            usual_law=by_row,
        ),
        Pile("ten looks, growing", plain, looks=10, usual=("each look as the first", _uncounted)),
    )


_piles = cache(piles)


def simulate_pile(
    pile: Pile,
    promises: tuple[PromiseSection, ...],
    deployments: int,
    seed: int = 0,
    pool: Executor | None = None,
) -> list[PileCell]:
    """Deploy on a pile many times, our way and the usual one, under each promise.

    Each deployment draws from a seed of its own, so that processes of a `pool` can share them out:
    the figures are the same.
    """
    parts = [range(k, min(k + AT_ONCE, deployments)) for k in range(0, deployments, AT_ONCE)]
    if pool is None:
        found = [_deployments(pile, promises, seed, part) for part in parts]
    else:
        # Piles hold functions of this module, so that a process looks its own up by the name.
        ours = [pool.submit(_named, pile.name, promises, seed, part) for part in parts]
        found = [part.result() for part in ours]
    deployed = [one for part in found for one in part]
    return [
        _cell(pile, promise, ours, [one[ours][at] for one in deployed])
        for ours in ((True, False) if pile.usual else (True,))
        for at, promise in enumerate(promises)
    ]


def _named(
    name: str, promises: tuple[PromiseSection, ...], seed: int, which: range
) -> list[_Deployed]:
    pile = next(pile for pile in _piles() if pile.name == name)
    return _deployments(pile, promises, seed, which)


def _deployments(
    pile: Pile, promises: tuple[PromiseSection, ...], seed: int, which: range
) -> list[_Deployed]:
    place = [seed, *pile.name.encode()]
    drawn = np.random.default_rng(place)
    students = [pile.traffic.student(drawn) for _ in range(pile.looks)]
    return [_deploy(pile, students, promises, np.random.default_rng([*place, 0, k])) for k in which]


@dataclass(frozen=True)
class _Look:
    rows: int
    broken: bool
    coverage: float


_Deployed = dict[bool, list[list[_Look]]]
"""Our way (True) and the usual one: by promise, the looks of one deployment."""


def _cell(pile: Pile, promise: PromiseSection, ours: bool, runs: list[list[_Look]]) -> PileCell:
    looks = [look for run in runs for look in run]
    broken = float(np.mean([any(look.broken for look in run) for run in runs]))
    noise = 3 * float(np.sqrt(promise.delta * (1 - promise.delta) / len(runs)))
    name = pile.usual[0] if pile.usual else ""
    return PileCell(
        pile=pile.name,
        promise=promise.promise,
        way="raisehand" if ours else name,
        guaranteed=ours,
        n_calibration=float(np.mean([look.rows for look in looks])),
        broken=broken,
        refused=float(np.mean([look.coverage == 0 for look in looks])),
        coverage=float(np.mean([look.coverage for look in looks])),
        excess=broken - promise.delta - noise,
    )


def _deploy(
    pile: Pile,
    students: list[SimulatedStudent],
    promises: tuple[PromiseSection, ...],
    rng: np.random.Generator,
) -> _Deployed:
    sizes = [ROWS if pile.looks == 1 else round(FIRST_ROWS * GROWTH**k) for k in range(pile.looks)]
    drawn, seed = pile.traffic.draw(sizes[-1], rng), int(rng.integers(2**31))
    runs: _Deployed = {way: [[] for _ in promises] for way in (True, False)}
    with tempfile.TemporaryDirectory() as folder:
        for k, (size, student) in enumerate(zip(sizes, students, strict=True)):
            rows = drawn if pile.looks == 1 else drawn[:size]
            inputs = _read(Path(folder) / "pile.csv", pile, rows)
            ours = split_inputs(inputs, seed=seed)
            usual = pile.usual[1](inputs, ours, seed) if pile.usual else {}
            for at, promise in enumerate(promises):
                ledger = Path(folder) / f"{promise.promise}.jsonl"
                answers = [LABELS[i] for i in inputs.gold[ours["calibration"]]]
                asked = [inputs.texts[i] for i in ours["calibration"]]
                use = take_use(ledger, row_ids(asked, answers), str(k), promise)
                runs[True][at].append(_look(pile, student, inputs, ours, promise, use))
                if pile.usual:
                    runs[False][at].append(_look(pile, student, inputs, usual, promise))
    return runs


def _read(path: Path, pile: Pile, rows: Ints) -> Inputs:
    """Write the rows as a file, with the teacher's answers as gold, and read it as a task does."""
    traffic = pile.traffic
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["text", "gold", "time", "group"])
        for place, row in enumerate(rows.tolist()):
            customer = row if traffic.group is None else traffic.group[row]
            table.writerow([traffic.texts[row], LABELS[traffic.teacher[row]], place, customer])
    section = InputsSection(path=path, text="text", gold="gold")
    named = {name: name for name in pile.columns}
    return read_inputs(section.model_copy(update=named), LabelSchema(LABELS))


def _look(
    pile: Pile,
    student: SimulatedStudent,
    inputs: Inputs,
    split: Indices,
    promise: PromiseSection,
    use: int | None = None,
) -> _Look:
    """Certify a frozen student on the calibration rows, and look up what it does to the traffic.

    `use` None: as whoever takes rows the usual way, who counts no looks.
    """
    traffic = pile.traffic
    if pile.learns:
        student = student.having_learnt(pile.places(inputs, split["train"]))
    asked = pile.places(inputs, split["calibration"])
    scored = pile.places(inputs, split["temperature"])
    predicted = student.says(traffic)
    try:
        certified = certify(
            student.confidence[asked],
            predicted[asked],
            traffic.teacher[asked],
            promise,
            labels=LABELS,
            grid=grid_from_scores(student.confidence[scored], predicted[scored]),
            use=use or 1,
        )
    except NotCertifiable:
        return _Look(asked.size, False, 0.0)
    law = pile.usual_law if use is None and pile.usual_law is not None else traffic.late
    kept = student.confidence >= np.array(certified.thresholds)[predicted]
    coverage, wrong = float(law @ kept), float(law @ (kept & student.wrong))
    scope = 1.0 if promise.promise == "system" else coverage
    return _Look(asked.size, wrong > promise.alpha * scope, coverage)
