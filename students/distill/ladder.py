"""`student: auto`: climb from the cheapest student to the dearest, prove each, keep the best buy.

The best buy is the certified student with the least cost of a request: its own time plus its
escalations at the teacher's price, as the calibration rows show them: the test rows stay untouched
by the choice. Each rung is another look at the calibration rows and spends delta, the cheapest rung
first.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from students.distill.export import exported
from students.distill.run import Distilled, Report, distill, take_parts
from students.distill.worth import kept_share, usd_per_request
from students.errors import BadTask
from students.label.labelled import LabelledSet
from students.runtime.bundle import LabellingBill, name_latest
from students.task import StudentSection, Task
from students.teachers.protocol import TeacherDescriptor


@dataclass(frozen=True)
class Rung:
    """One student and what a request costs with it; None where nothing is certified or priced."""

    distilled: Distilled
    usd_per_request: Decimal | None


@dataclass(frozen=True)
class Ladder:
    """All rungs from the cheapest student to the dearest, and the chosen one."""

    rungs: tuple[Rung, ...]
    chosen: Distilled


def climb(
    task: Task,
    labelled: LabelledSet,
    splits: Mapping[str, npt.NDArray[np.int64]],
    *,
    teacher: TeacherDescriptor,
    labelling: LabellingBill | None = None,
    report: Report = lambda stage, done, total: None,
) -> Ladder:
    """Distil the family of the task; for `auto`: linear, frozen, encoder, and its int8 export.

    The int8 rung is left out where its runtime is not installed.

    Raises:
        BadTask: there is no encoder to climb to.
        BadInputs: see `students.distill.run.distill`.
    """
    if task.student.family != "auto":
        only = distill(task, labelled, splits, teacher=teacher, labelling=labelling, report=report)
        return Ladder((Rung(only, usd_per_request(task, only)),), only)
    if task.student.encoder_path is None:
        raise BadTask(
            "student.family is auto but student.encoder_path is missing; name a local Hugging Face "
            "folder, or use family linear, which needs none"
        )

    def one(family: str) -> Distilled:
        student = StudentSection.model_validate(task.student.model_dump() | {"family": family})
        return distill(
            task.model_copy(update={"student": student}), labelled, splits,
            teacher=teacher, labelling=labelling,
            report=lambda stage, n, of: report(f"{family}: {stage}", n, of),
        )  # fmt: skip

    def rungs() -> Iterator[Distilled]:
        yield one("linear")
        yield one("frozen")
        encoder = one("encoder")
        yield encoder
        if importlib.util.find_spec("openvino") and importlib.util.find_spec("nncf"):
            part = take_parts(task, labelled, splits)
            yield exported(
                task, encoder.bundle, part, "int8", lambda s, n, of: report(f"int8: {s}", n, of)
            )

    climbed = tuple(Rung(one, usd_per_request(task, one)) for one in rungs())
    chosen = choose(climbed)
    name_latest(chosen.bundle.path.parent, chosen.bundle.id)
    return Ladder(climbed, chosen)


def choose(rungs: tuple[Rung, ...]) -> Distilled:
    """The certified rung of least cost; where none is certified, the one that came closest.

    Without a price of the teacher, the certified rung that keeps most.
    """
    certified = [rung for rung in rungs if rung.distilled.refusal is None]
    if not certified:
        return max(rungs, key=lambda rung: _best_agreement(rung.distilled)).distilled
    if all(rung.usd_per_request is not None for rung in certified):
        return min(certified, key=lambda rung: rung.usd_per_request or Decimal(0)).distilled
    return max(certified, key=lambda rung: kept_share(rung.distilled)).distilled


def _best_agreement(one: Distilled) -> float:
    return one.refusal.best_agreement if one.refusal else 1.0
