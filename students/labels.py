"""The vocabulary of answers: which labels there are, what a teacher or a student said of one text.

A teacher's soft label is (p_1..p_K, p_other): the probability it put on each label and on saying
something else. `label_mass` is 1 - p_other; it is kept, never renormalised away. An answer need not
name a label at all: then it is *unusable*, and stays so from the reading to the certificate and to
what is served; nothing takes the largest of its numbers for a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from students.errors import UnknownLabel

UNSURE_LABEL_MASS = 0.5
NO_LABEL = -1
"""Stands for the label of an unusable answer in arrays."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelSchema:
    """The K labels of a task, in a fixed order, with the descriptions a teacher is shown.

    Raises:
        ValueError: fewer than two labels, a repeated name or an empty one.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise ValueError(f"{len(self.names)} labels were given; a task needs at least 2")
        seen: set[str] = set()
        for name in self.names:
            if not name.strip():
                raise ValueError("a label is empty; give every label a name")
            if name in seen:
                raise ValueError(f"label {name!r} is given twice; labels must differ")
            seen.add(name)
        if not self.descriptions:
            object.__setattr__(self, "descriptions", ("",) * len(self.names))
        if len(self.descriptions) != len(self.names):
            raise ValueError(
                f"{len(self.descriptions)} descriptions for {len(self.names)} labels; "
                "give one for each"
            )

    @classmethod
    def of(cls, labels: Mapping[str, str] | Sequence[str]) -> LabelSchema:
        """Build from a list of names or a mapping of name to description."""
        if isinstance(labels, Mapping):
            return cls(tuple(labels), tuple(labels.values()))
        return cls(tuple(labels))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def index(self, name: str) -> int:
        """Return the position of a label.

        Raises:
            UnknownLabel: the name is not one of the task's labels.
        """
        try:
            return self._index[name]
        except KeyError:
            known = ", ".join(self.names[:10]) + (", …" if len(self) > 10 else "")
            raise UnknownLabel(
                f"{name!r} is not a label of this task; the {len(self)} labels are {known}"
            ) from None


@dataclass(frozen=True, slots=True)
class LabelDistribution:
    """One teacher answer: probabilities (K,) on the labels and `other` on everything else.

    `truncated` says that a label was missing from the teacher's top-k, so that its probability is
    an upper-bounded guess, not a reading. `refused` says that the teacher would not answer.
    """

    probabilities: tuple[float, ...]
    other: float = 0.0
    truncated: bool = False
    refused: bool = False

    @property
    def label_mass(self) -> float:
        """Probability the teacher put on the labels at all, in [0, 1]."""
        return 1.0 - self.other

    @property
    def argmax(self) -> int:
        """Index of the most probable label."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def unsure(self) -> bool:
        """Whether no label was meant: low label mass, something else on top, or two labels level.

        Two labels are level where both are bounded guesses, or where two answers cancel out.
        """
        best = max(self.probabilities)
        level = self.probabilities.count(best) > 1
        return self.label_mass < UNSURE_LABEL_MASS or self.other > best or level

    @property
    def label(self) -> int | None:
        """Index of the label that was meant; None where the answer is unusable."""
        return None if self.refused or self.unsure else self.argmax

    @classmethod
    def refusal(cls, k: int) -> LabelDistribution:
        """A teacher that would not answer about `k` labels."""
        return cls((0.0,) * k, 1.0, refused=True)

    @classmethod
    def hard(cls, label: int, k: int) -> LabelDistribution:
        """A teacher that only names its answer: all the mass on one of `k` labels."""
        return cls(tuple(1.0 if i == label else 0.0 for i in range(k)))


def means_label(
    probabilities: npt.NDArray[np.floating], other: npt.NDArray[np.floating]
) -> npt.NDArray[np.bool_]:
    """Whether each row (N, K) and (N,) means a label, by its numbers: not `unsure`, (N,)."""
    level = np.partition(probabilities, -2, axis=1)[:, -2:]
    best = level[:, 1]
    means: npt.NDArray[np.bool_] = (
        (1.0 - other >= UNSURE_LABEL_MASS) & (other <= best) & (level[:, 0] < best)
    )
    return means


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """What the student says of one text.

    `probabilities` has shape (K,), calibrated by the bundle's temperature; `confidence` comes from
    `students.confidence`, the same function that the certificate was computed with.
    """

    label: int
    confidence: float
    probabilities: FloatArray
    in_scope: bool = True
    """False: the text is unlike all that the student has learnt from; its confidence is NaN."""
