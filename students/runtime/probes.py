"""Does a student answer on this machine as it did where it was certified?

The same files give other scores on another kind of processor: int8 without VNNI goes through other
instructions, a GPU computes in bfloat16, a new version of a runtime may fuse other operations. A
certificate speaks of the scores it saw, so a bundle remembers what its student said to a few texts,
and a student that says something else is not served. The texts are the labels' own words and some
sentences of ours: no user's text is in a bundle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from costmodel.frozen import Frozen
from students.errors import BadBundle
from students.labels import LabelSchema
from students.runtime.protocol import Student

MOST_DRIFT = 0.02
"""Largest change of a probability that is let pass. With an encoder of 77 labels it was .005 from
float32 to bfloat16 in torch, and .029 for int8 from a processor with VNNI to one without."""
MOST_LABELS = 48
SENTENCES = (
    "",
    "Hello",
    "Please help me as soon as you can.",
    "I have a question about my account.",
    "It does not work any more since yesterday.",
    "Thank you very much, everything is fine now!",
    "We have had no water and no food for three days, there are children with us.",
    "The card that I ordered two weeks ago has not arrived yet, where is it?",
    "Somebody paid 250.00 with my number and it was not me",
    "What does it cost, and how long will it take?",
    "The weather report says that the wind will be stronger tomorrow.",
    "¿Dónde está mi dinero? Necesito ayuda.",
    "请帮帮我们",
    "first second third " * 20,
    "a" * 300,
)


class Probe(Frozen):
    """What the student said to one text when it was certified."""

    text: str
    label: int
    """Its most probable label."""
    probability: float
    """Of that label, after temperature scaling."""


def probe(student: Student) -> tuple[Probe, ...]:
    """Ask a student about every probe text."""
    texts = _texts(student.schema)
    return tuple(
        Probe(text=text, label=said.label, probability=float(said.probabilities[said.label]))
        for text, said in zip(texts, student.predict(texts), strict=True)
    )


def drift(student: Student, probes: Sequence[Probe]) -> float:
    """Return the largest change of a probability since the probes were made, from 0 to 1."""
    answers = student.predict([one.text for one in probes])
    changes = [
        float(said.probabilities[one.label]) - one.probability
        for one, said in zip(probes, answers, strict=True)
    ]
    return float(np.abs(changes).max()) if changes else 0.0


def check_drift(student: Student, probes: Sequence[Probe], where: object) -> None:
    """Compare a student with what it said when it was certified.

    Raises:
        BadBundle: a probability changed by more than `MOST_DRIFT`.
    """
    found = drift(student, probes)
    if not found <= MOST_DRIFT:
        raise BadBundle(
            f"{where} gives other scores here than where it was certified: a probability differs "
            f"by {found:.3f}, {MOST_DRIFT:g} is allowed; run `raisehand distill` or `raisehand "
            "export` on a machine of the kind that serves"
        )


def _texts(schema: LabelSchema) -> list[str]:
    words = [
        description or name
        for name, description in zip(schema.names, schema.descriptions, strict=True)
    ]
    return [*words[:MOST_LABELS], *SENTENCES]
