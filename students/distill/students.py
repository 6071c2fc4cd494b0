"""From a task's student section to trained files: one place that knows the families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from students.distill.labelled import LabelledSet
from students.errors import BadTask
from students.runtime.bundle import Family, Trial
from students.task import StudentSection

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trained:
    """A trained student that still has to be written and proved.

    Attributes:
        family: how it is run.
        config: what running it needs besides its files.
        trials: every setting that was tried, the chosen one first.
        save: writes its files into a folder.
        uses: packages, besides torch and numpy, whose versions matter.
    """

    family: Family
    config: dict[str, JsonValue]
    trials: tuple[Trial, ...]
    save: Callable[[Path], None]
    uses: tuple[str, ...] = ()


def train_student(
    train: LabelledSet,
    validation: LabelledSet,
    section: StudentSection,
    progress: Progress = lambda done, total: None,
) -> Trained:
    """Train the family that the task asks for.

    Raises:
        BadTask: the family needs something that the task does not name.
    """
    if section.family == "linear":
        return _linear(train, validation, section, progress)
    raise BadTask(f"student.family {section.family!r} cannot be trained yet; use linear")


def _linear(
    train: LabelledSet, validation: LabelledSet, section: StudentSection, progress: Progress
) -> Trained:
    from students.distill.linear import LinearRecipe, train_linear
    from students.runtime.load import WEIGHTS

    recipe = LinearRecipe(epochs=section.epochs, seed=section.seed)
    weights, trials = train_linear(
        train, validation, recipe, section.temperatures, section.hard_weights, progress
    )

    def save(folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file(weights.tensors(), folder / WEIGHTS)

    config: dict[str, JsonValue] = {"shortest": weights.shortest, "longest": weights.longest}
    return Trained("linear", config, trials, save, uses=("numba",))
