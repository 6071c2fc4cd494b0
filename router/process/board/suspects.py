"""Answers worth a second look: a sure student whom the teacher contradicts. Ids, and no text."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from router.shared.records import Audit

SHOWN = 10
REMEMBERED = 500
"""The latest disagreements, of which the surest are shown."""
PAGES = 10
"""Read at once: a store with years of audits is caught up with bit by bit."""
PAGE = 1_000

ReadAudits = Callable[[str, int, int], list[tuple[int, Audit]]]
"""Returns a task's audits after an id, so many at most; blocking."""


@dataclass(frozen=True, slots=True)
class SuspectAnswer:
    """One kept answer that the teacher contradicts; often the error is the teacher's."""

    at: float
    request_id: str
    bundle: str
    student_label: str
    confidence: float
    teacher_label: str


class SuspectList:
    """Follows the audits of one task."""

    def __init__(self, task: str, read: ReadAudits) -> None:
        self._task = task
        self._read = read
        self._last = 0
        self._found: deque[SuspectAnswer] = deque(maxlen=REMEMBERED)

    def read(self) -> list[SuspectAnswer]:
        """Return the surest of the latest; blocking."""
        for _ in range(PAGES):
            page = self._read(self._task, self._last, PAGE)
            self._found.extend(one for _, audit in page if (one := _suspect(audit)) is not None)
            if page:
                self._last = page[-1][0]
            if len(page) < PAGE:
                break
        return sorted(self._found, key=lambda one: one.confidence, reverse=True)[:SHOWN]


def _suspect(audit: Audit) -> SuspectAnswer | None:
    said, told, sure = audit.student_label, audit.teacher_label, audit.confidence
    if audit.escalated or not audit.disagreed or said is None or told is None or sure is None:
        return None
    return SuspectAnswer(audit.at, audit.request_id, audit.bundle, said, sure, told)
