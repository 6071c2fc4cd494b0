"""From a task's student section to trained files: one place that knows the families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    work = _Work(train, validation, section, progress, checkpoints)
    if section.family == "blend":
        return _blend(work)
    if section.family == "linear":
        return _of_linear(_on_variants(work) if section.variants else _linear(work))
    return _of_encoder(_ENCODERS[section.family](work), work.base, section.family)


@dataclass(frozen=True)
class _Work:
    """What a family is trained with."""

    train: LabelledSet
    validation: LabelledSet
    section: StudentSection
    progress: Progress
    checkpoints: Path | None

    @property
    def base(self) -> Path:
        """Folder of the encoder.

        Raises:
            BadTask: the task names none.
        """
        if self.section.encoder_path is None:
            raise BadTask(
                "student.encoder_path is missing; name a local Hugging Face folder, or use family "
                "linear without variants, which needs none"
            )
        return self.section.encoder_path

    @property
    def vectors(self) -> Path:
        """Folder in which a frozen encoder's vectors are kept.

        Raises:
            BadTask: there is none.
        """
        if self.checkpoints is None:
            raise BadTask("a frozen encoder keeps its vectors; give a folder for them")
        return self.checkpoints.parent / "embeddings"

    def part(self, i: int, parts: int) -> _Work:
        """Return the same for the i-th of so many trainings, as far as is shown."""
        return replace(self, progress=self.share(i, parts))

    def share(self, i: int, parts: int) -> Progress:
        """Return the progress of the i-th of so many parts of this."""
        return lambda done, of: self.progress(100 * i + 100 * done // max(1, of), 100 * parts)


def _linear(work: _Work) -> TrainedLinear:
    from students.train.linear import LinearRecipe, train_linear

    section = work.section
    return train_linear(
        work.train,
        work.validation,
        LinearRecipe(epochs=section.epochs, seed=section.seed),
        section.temperatures,
        section.hard_weights,
        section.l2,
        progress=work.progress,
    )


def _on_variants(work: _Work) -> TrainedLinear:
    """Train a linear student on what a head on a frozen encoder says of variants, too."""
    from students.train.variants import answered, train_on_variants, without_words

    assistant = _frozen(work.part(0, 4))
    plain = _linear(work.part(1, 4))
    texts = without_words(work.train.texts, work.section.variants)
    if not texts:  # each row is a single word
        return plain
    made = answered(texts, assistant, work.validation, work.vectors, work.share(2, 4))
    return train_on_variants(work.train, work.validation, made, plain, work.share(3, 4))


def _encoder(work: _Work) -> TrainedEncoder:
    from students.train.encoder import train_encoder_student
    from students.train.training import Recipe

    section = work.section
    return train_encoder_student(
        work.train,
        work.validation,
        work.base,
        Recipe(epochs=section.epochs or ENCODER_EPOCHS, lr=0.0, seed=section.seed),
        section.temperatures,
        section.hard_weights,
        gradient_checkpointing=section.gradient_checkpointing,
        checkpoints=work.checkpoints,
        progress=work.progress,
    )


def _frozen(work: _Work) -> TrainedEncoder:
    from students.train.frozen import HeadRecipe, train_frozen_student

    section = work.section
    return train_frozen_student(
        work.train,
        work.validation,
        work.base,
        HeadRecipe(epochs=section.epochs, seed=section.seed),
        section.temperatures,
        section.hard_weights,
        cache=work.vectors,
        progress=work.progress,
    )


_ENCODERS = {"frozen": _frozen, "encoder": _encoder}


def _blend(work: _Work) -> Trained:
    """Train both parts, then choose their weight."""
    from students.train.blend import blend

    base, with_it = work.base, work.section.blend_with  # before anything is trained
    linear = _linear(work.part(0, 2))
    encoder = _ENCODERS[with_it](work.part(1, 2))
    shares, trial = blend(linear.held_out, encoder.held_out, work.validation.probabilities)
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
