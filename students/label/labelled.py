"""What the teacher said of every input: the only thing a student is trained on."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from students.errors import BadInputs
from students.labels import NO_LABEL, LabelSchema, means_label

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.integer]

FORMAT = "raisehand-labels/2"
MOST_UNUSABLE = 0.2
"""Share of answers without a label that a student may be made of: beyond it the prompt is wrong."""
_NUMBERS_TELL: Bool = np.empty(0, np.bool_)


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """N texts with the teacher's soft label of each.

    Attributes:
        schema: the K labels.
        texts: N texts.
        probabilities: (N, K), what the teacher put on each label; a row sums to 1 - other.
        other: (N,), what it put on anything else; never renormalised away.
        truncated: (N,), a label was missing from the teacher's top-k and is a bounded guess.
        gold: (N,), index of the true label, -1 where nobody knows; only to report accuracy.
        usable: (N,), the answer means a label; by default what its numbers say.

    Raises:
        BadInputs: the arrays do not have one row per text and one column per label.
    """

    schema: LabelSchema
    texts: tuple[str, ...]
    probabilities: Float32
    other: Float32
    truncated: Bool
    gold: Int32
    usable: Bool = field(default_factory=lambda: _NUMBERS_TELL)

    def __post_init__(self) -> None:
        n, k = len(self.texts), len(self.schema)
        found = [a.shape for a in (self.probabilities, self.other, self.truncated, self.gold)]
        wanted = [(n, k), (n,), (n,), (n,)]
        if found != wanted:
            raise BadInputs(f"a labelled set of {n} texts and {k} labels has arrays {found}")
        if self.usable is _NUMBERS_TELL:
            object.__setattr__(self, "usable", means_label(self.probabilities, self.other))
        if self.usable.shape != (n,):
            raise BadInputs(f"a labelled set of {n} texts has {self.usable.shape} usable flags")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def teacher(self) -> Int32:
        """The teacher's answer, (N,): its most probable label, `NO_LABEL` where it meant none."""
        best = self.probabilities.argmax(axis=1)
        answer: Int32 = np.where(self.usable, best, NO_LABEL).astype(np.int32)
        return answer

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of every text, number and label name."""
        digest = hashlib.sha256(FORMAT.encode())
        for name, array in self._arrays().items():
            digest.update(f"\0{name}{array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()

    def take(self, index: Index) -> LabelledSet:
        """Return the rows at `index`, in that order."""
        return replace(
            self,
            texts=tuple(self.texts[i] for i in index),
            probabilities=self.probabilities[index],
            other=self.other[index],
            truncated=self.truncated[index],
            gold=self.gold[index],
            usable=self.usable[index],
        )

    def joined(self, other: LabelledSet) -> LabelledSet:
        """Return these rows and then those of another set of the same labels."""
        return LabelledSet(
            self.schema,
            self.texts + other.texts,
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in ("probabilities", "other", "truncated", "gold", "usable")
            ),
        )

    def save(self, path: Path) -> None:
        """Write an .npz without pickles; an interrupted write leaves the old file whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **self._arrays())
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> LabelledSet:
        """Read what `save` wrote.

        Raises:
            BadInputs: there is no such file or it is not a labelled set.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                if header["format"] != FORMAT:
                    raise BadInputs(
                        f"{path} has format {header['format']!r}, {FORMAT!r} is needed; run "
                        "`raisehand label` again"
                    )
                ends = np.cumsum(stored["lengths"])
                blob = stored["texts"].tobytes()
                starts = np.concatenate([[0], ends[:-1]])
                return cls(
                    LabelSchema(tuple(header["names"]), tuple(header["descriptions"])),
                    tuple(
                        blob[a:b].decode("utf-8", "surrogatepass")
                        for a, b in zip(starts, ends, strict=True)
                    ),
                    stored["probabilities"],
                    stored["other"],
                    stored["truncated"],
                    stored["gold"],
                    stored["usable"],
                )
        except FileNotFoundError:
            raise BadInputs(f"{path} does not exist; run `raisehand label` first") from None
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise BadInputs(
                f"{path} is not a labelled set ({type(error).__name__}); run `raisehand label` "
                "again: answers that were paid for are kept in its cache"
            ) from None

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        encoded = [text.encode("utf-8", "surrogatepass") for text in self.texts]
        header = json.dumps(
            {
                "format": FORMAT,
                "names": self.schema.names,
                "descriptions": self.schema.descriptions,
            }
        )
        return {
            "header": np.frombuffer(header.encode(), np.uint8),
            "texts": np.frombuffer(b"".join(encoded), np.uint8),
            "lengths": np.array([len(e) for e in encoded], np.int64),
            "probabilities": self.probabilities,
            "other": self.other,
            "truncated": self.truncated,
            "gold": self.gold,
            "usable": self.usable,
        }
