"""What every student is at serving time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from students.labels import LabelSchema, Prediction


class Student(Protocol):
    """A small model in this process."""

    schema: LabelSchema
    in_place_tokens: int
    """Texts of up to so many tokens together are answered, for sure, in less than a hand-over to a
    thread is worth; 0: give it a thread for any."""

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer each text, in order: len(result) == len(texts).

        Blocking and thread-safe; releases the GIL while it computes. The label of a text does not
        depend on the other texts of the call.
        """
        ...

    def token_count(self, text: str) -> int:
        """Cheap estimate of the work of a text, for token-budget batching."""
        ...
