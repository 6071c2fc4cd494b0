"""From a task's student section to trained files: one place that knows the families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from students.errors import BadTask
from students.label.labelled import LabelledSet
from students.runtime.bundle import WEIGHTS, Family, Trial
from students.runtime.load import LINEAR_WEIGHTS
from students.sections import StudentSection
from students.train.progress import Progress

if TYPE_CHECKING:
    from students.train.encoder import TrainedEncoder
    from students.train.linear import TrainedLinear

Float32 = npt.NDArray[np.float32]
ENCODER_EPOCHS = 8


@dataclass(frozen=True)
class Trained:
    """A trained student that still has to be written and proved.

    Attributes:
        family: how it is run.
        config: what running it needs besides its files.
        trials: every setting that was tried, the chosen one first.
        held_out: (N, K), logits of the validation rows by it before it learnt them, too.
        save: writes its files into a folder.
        uses: packages, besides torch and numpy, whose versions matter.
    """

    family: Family
    config: dict[str, JsonValue]
    trials: tuple[Trial, ...]
    held_out: Float32
    save: Callable[[Path], None]
    uses: tuple[str, ...] = ()


def train_student(
    train: LabelledSet,
    validation: LabelledSet,
    section: StudentSection,
    progress: Progress = lambda done, total: None,
    checkpoints: Path | None = None,
) -> Trained:
    """Train the family that the task asks for; `checkpoints` keeps what takes long.

    Raises:
        BadTask: the family needs something that the task does not name.
    """
    if section.family == "linear" and not section.variants:
        return _of_linear(_linear(train, validation, section, progress))
    if section.encoder_path is None:
        raise BadTask(
            "student.encoder_path is missing; name a local Hugging Face folder, or use family "
            "linear without variants, which needs none"
        )
    base = section.encoder_path
    parts = train, validation, section, base, progress, checkpoints
    if section.family == "linear":
        return _of_linear(_on_variants(*parts))
    if section.family == "blend":
        return _blend(*parts)
    return _of_encoder(_ENCODERS[section.family](*parts), base, section.family)


def _linear(
    train: LabelledSet, validation: LabelledSet, section: StudentSection, progress: Progress
) -> TrainedLinear:
    from students.train.linear import LinearRecipe, train_linear

    recipe = LinearRecipe(epochs=section.epochs, seed=section.seed)
    return train_linear(
        train, validation, recipe, section.temperatures, section.hard_weights, section.l2,
        progress=progress,
    )  # fmt: skip


def _on_variants(
    train: LabelledSet,
    validation: LabelledSet,
    section: StudentSection,
    base: Path,
    progress: Progress,
    checkpoints: Path | None,
) -> TrainedLinear:
    """Train a linear student on what a head on a frozen encoder says of variants, too."""
    from students.train.variants import answered, train_on_variants, without_words

    def part(i: int) -> Progress:
        return lambda done, of: progress(100 * i + 100 * done // of, 400)

    assistant = _frozen(train, validation, section, base, part(0), checkpoints)
    plain = _linear(train, validation, section, part(1))
    texts = without_words(train.texts, section.variants)
    if not texts:  # each row is a single word
        return plain
    made = answered(texts, assistant, validation, _vectors(checkpoints), part(2))
    return train_on_variants(train, validation, made, plain, part(3))


def _encoder(
    train: LabelledSet,
    validation: LabelledSet,
    section: StudentSection,
    base: Path,
    progress: Progress,
    checkpoints: Path | None,
) -> TrainedEncoder:
    from students.train.encoder import train_encoder_student
    from students.train.training import Recipe

    return train_encoder_student(
        train,
        validation,
        base,
        Recipe(epochs=section.epochs or ENCODER_EPOCHS, lr=0.0, seed=section.seed),
        section.temperatures,
        section.hard_weights,
        gradient_checkpointing=section.gradient_checkpointing,
        checkpoints=checkpoints,
        progress=progress,
    )


def _frozen(
    train: LabelledSet,
    validation: LabelledSet,
    section: StudentSection,
    base: Path,
    progress: Progress,
    checkpoints: Path | None,
) -> TrainedEncoder:
    from students.train.frozen import HeadRecipe, train_frozen_student

    return train_frozen_student(
        train,
        validation,
        base,
        HeadRecipe(epochs=section.epochs, seed=section.seed),
        section.temperatures,
        section.hard_weights,
        cache=_vectors(checkpoints),
        progress=progress,
    )


def _vectors(checkpoints: Path | None) -> Path:
    if checkpoints is None:
        raise BadTask("a frozen encoder keeps its vectors; give a folder for them")
    return checkpoints.parent / "embeddings"


_ENCODERS = {"frozen": _frozen, "encoder": _encoder}


def _blend(
    train: LabelledSet,
    validation: LabelledSet,
    section: StudentSection,
    base: Path,
    progress: Progress,
    checkpoints: Path | None,
) -> Trained:
    """Train both parts, then choose their weight."""
    from students.train.blend import blend

    linear = _linear(train, validation, section, lambda done, of: progress(done, 2 * of))
    with_it = section.blend_with
    encoder = _ENCODERS[with_it](
        train, validation, section, base,
        lambda done, of: progress(of + done, 2 * of), checkpoints,
    )  # fmt: skip
    shares, trial = blend(linear.held_out, encoder.held_out, validation.probabilities)
    one = _of_linear(linear, LINEAR_WEIGHTS)
    other = _of_encoder(encoder, base, with_it)

    def save(folder: Path) -> None:
        one.save(folder)
        other.save(folder)

    return Trained(
        "blend",
        {**one.config, **other.config, **shares.config(), "encoder": other.family},
        (trial, linear.trials[0], encoder.trials[0]),
        shares.of(linear.held_out, encoder.held_out),
        save,
        uses=(*one.uses, *other.uses),
    )


def _of_linear(trained: TrainedLinear, name: str = WEIGHTS) -> Trained:
    def save(folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file(trained.weights.tensors(), folder / name)

    config = trained.weights.config()
    return Trained("linear", config, trained.trials, trained.held_out, save, uses=("numba",))


def _of_encoder(trained: TrainedEncoder, base: Path, family: str) -> Trained:
    from students.train.encoder import save_encoder

    config: dict[str, JsonValue] = {
        "max_length": trained.max_length,
        "pad_id": trained.pad_id,
        "base": base.name,
        **({"trained": "head"} if family == "frozen" else {}),
    }
    return Trained(
        "encoder",
        config,
        trained.trials,
        trained.held_out,
        lambda folder: save_encoder(trained, folder),
        uses=("transformers", "tokenizers"),
    )
