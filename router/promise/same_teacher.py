"""Is it still the teacher that labelled? Its answers on record, asked for again.

The reference is what the certificate rests on: the labels of the rows that judge. Under H0 the
teacher is the same one, so that an answer asked for today differs from the one on record as seldom
as its answers differed when it was asked twice: at most at a rate `allowed`, the exact upper bound
of that count. Rows are drawn at random, with replacement, so every comparison is a fresh draw of
this fixed set; the bet against H0 is `router.promise.monitor`'s, and may be looked at after every
row, for ever. A false alarm has probability at most `FALSE_BOUND` + `FALSE_CHANGE`.

A changed teacher is a new reference, and no audit can refute it: the certificates that rest on the
old one are void until others are made.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from costmodel.intervals import upper_bound
from router.errors import BadSettings
from router.promise.monitor import Evidence, Monitor
from students.labels import NO_LABEL

FALSE_BOUND = 0.01
"""Probability that the same teacher differs from itself more often than `allowed`."""
FALSE_CHANGE = 0.01
"""Probability that a teacher which differs at most so often is ever called changed."""
CHANGED = "teacher_changed"


class SameTeacher(BaseModel):
    """What is known of one teacher since it labelled, for the store. It holds no text."""

    model_config = ConfigDict(extra="forbid")

    labels_sha256: str
    """Of the labels on record: others are another reference."""
    repeated: int = Field(ge=1)
    """Texts that the teacher was asked twice when it labelled."""
    allowed: float = Field(gt=0, lt=1)
    evidence: Evidence

    @classmethod
    def of(cls, labels_sha256: str, repeated: int, agreed: int) -> SameTeacher:
        """Begin to watch the teacher of some labels, which agreed with itself so often.

        Raises:
            BadSettings: nobody knows how often it does: the labels were made without repeats.
        """
        if not repeated or agreed == 0:
            raise BadSettings(
                f"of {repeated} texts that the teacher was asked twice, {agreed} got the same "
                "label, so a change cannot be told from its own doubt; run `raisehand label "
                "--repeats 200`"
            )
        allowed = float(upper_bound(repeated - agreed, repeated, FALSE_BOUND))
        monitor = Monitor(allowed, false_alarm=FALSE_CHANGE)
        return cls(
            labels_sha256=labels_sha256,
            repeated=repeated,
            allowed=allowed,
            evidence=monitor.evidence,
        )

    @property
    def changed(self) -> bool:
        """Whether it is another teacher."""
        return self.evidence.alarmed

    def compared(self, pairs: Sequence[tuple[int, int]]) -> SameTeacher:
        """Take labels on record beside those of today, in the order in which rows were drawn."""
        monitor = Monitor.resume(self.evidence)
        for recorded, today in pairs:
            monitor.observe(recorded != today, 1.0)
        return self.model_copy(update={"evidence": monitor.evidence})

    @property
    def figures(self) -> dict[str, float | int | str | None]:
        """What an event says of it."""
        state = Monitor.resume(self.evidence).state
        return {
            "compared": state.audits,
            "differed": state.disagreements,
            "differed_share": state.disagreement,
            "allowed_share": self.allowed,
            "e_value_teacher": state.e_value,
            "changed_at": 1.0 / FALSE_CHANGE,
        }


def drawn(rows: Sequence[int], n: int, rng: random.Random) -> list[int]:
    """Draw rows at random, with replacement."""
    return [rows[rng.randrange(len(rows))] for _ in range(n)]


def comparable(recorded: int | None) -> int:
    """Return a label, or what stands for none: a refusal that becomes an answer is a change."""
    return NO_LABEL if recorded is None else recorded
