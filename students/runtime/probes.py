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
import numpy.typing as npt

from costmodel.frozen import Frozen
from students.errors import BadBundle
from students.labels import LabelSchema
from students.runtime.protocol import Student

Float64 = npt.NDArray[np.float64]

MOST_DRIFT = 0.02
"""Largest change of a probability that is let pass. With an encoder of 77 labels it was .005 from
float32 to bfloat16 in torch, and .029 for int8 from a processor with VNNI to one without."""
MOST_ODDS_DRIFT = 0.5
"""Largest change of a probability's log-odds. Where thresholds lie near 1 a probability hardly
moves while rows pass them: from .999 to .98 the odds fall twentyfold."""
SURE = 1e-4
"""Nearer to 0 or 1 than this a float32 tells nothing of the odds."""
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


class ProbeDrift(Frozen):
    """Largest changes since the probes were made."""

    probability: float
    """From 0 to 1."""
    log_odds: float

    @property
    def too_much(self) -> bool:
        """Whether either is beyond its limit, or no number."""
        return not (self.probability <= MOST_DRIFT and self.log_odds <= MOST_ODDS_DRIFT)


def drift(student: Student, probes: Sequence[Probe]) -> ProbeDrift:
    """Compare what a student says with what it said when the probes were made."""
    if not probes:
        return ProbeDrift(probability=0.0, log_odds=0.0)
    answers = student.predict([one.text for one in probes])
    before = np.array([one.probability for one in probes])
    now = np.array(
        [said.probabilities[one.label] for one, said in zip(probes, answers, strict=True)],
        np.float64,
    )
    return ProbeDrift(
        probability=float(np.abs(now - before).max()),
        log_odds=float(np.abs(_log_odds(now) - _log_odds(before)).max()),
    )


def _log_odds(p: Float64) -> Float64:
    within: Float64 = np.clip(p, SURE, 1 - SURE)
    return np.log(within / (1 - within))


def check_drift(student: Student, probes: Sequence[Probe], where: object) -> None:
    """Compare a student with what it said when it was certified.

    Raises:
        BadBundle: a probability changed by more than `MOST_DRIFT`, or its odds by more than
            `MOST_ODDS_DRIFT`.
    """
    found = drift(student, probes)
    if found.too_much:
        raise BadBundle(
            f"{where} gives other scores here than where it was certified: a probability differs "
            f"by {found.probability:.3f} ({MOST_DRIFT:g} is allowed), odds by a factor of "
            f"{np.exp(found.log_odds):.2f} ({np.exp(MOST_ODDS_DRIFT):.2f} is allowed); run "
            "`raisehand distill` or `raisehand export` on a machine of the kind that serves"
        )


def _texts(schema: LabelSchema) -> list[str]:
    words = [
        description or name
        for name, description in zip(schema.names, schema.descriptions, strict=True)
    ]
    return [*words[:MOST_LABELS], *SENTENCES]
