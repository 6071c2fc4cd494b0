"""As which model a teacher answers: a name that is new is told at once.

Suppliers answer with the edition that they took, and some with the weights that a server loaded. A
new name proves nothing, and no name is no proof of the same teacher: `router.promise.same_teacher`
compares answers.
"""

from __future__ import annotations

from collections.abc import Callable

MOST_NAMES = 100
"""That are remembered of one teacher; of one that makes up a name for each, no more is told."""


class AnsweredAs:
    """Remembers the names that a teacher has answered under, in this process.

    Args:
        changed: told of the name that is new and of the one before; not of the first.
    """

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self._changed = changed
        self._known: set[str] = set()
        self._last = ""

    def __call__(self, model: str) -> None:
        """Take the name that an answer gives."""
        if model == self._last:
            return
        before, self._last = self._last, model
        if model in self._known or len(self._known) > MOST_NAMES:
            return  # several servers behind one address take turns
        self._known.add(model)
        if before:
            self._changed(model, before)
