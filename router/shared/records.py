"""What workers tell each other: an audit, the ruling on a bundle, an event.

Whoever folds audits into a verdict is a `Judge`: one object for a bundle, rebuilt from its evidence
inside the store's transaction, so that whichever worker folds goes on where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

SHADOW = "#shadow"
"""Behind a task's name: what is remembered of its candidates, apart from what is of its bundles."""
Figure = float | int | str | None
"""What stands in the figures of a verdict or an event."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """A request drawn at random, and what the teacher said of it."""

    task: str
    bundle: str
    at: float
    """Unix seconds, of the worker's clock; the order is the store's."""
    request_id: str
    propensity: float
    """Probability with which it was drawn, in (0, 1]."""
    escalated: bool
    """Whether the teacher answered the client anyway, so that what was served agrees."""
    student_label: str | None
    """None: the student failed."""
    confidence: float | None
    """The student's; None: it failed, or it was no number."""
    teacher_label: str | None
    """None: the teacher named no label."""
    disagreed: bool
    """Whether student and teacher differ, whichever of them was served."""


class AuditVerdict(msgspec.Struct, frozen=True):
    """What the router may do with a bundle; by default: as its certificate says."""

    escalate_all: bool = False
    threshold: float | None = None
    """Ask the teacher below this confidence, where the certificate would not; None: as it says."""
    reason: str = ""
    """A word for metrics and events; empty where nothing is changed."""
    eagerness: float = 1.0
    """Requests are to be drawn for audits so many times as often as the task says."""
    figures: Mapping[str, Figure] = {}

    @property
    def orders(self) -> tuple[bool, float | None, str]:
        """What makes it another verdict: figures change with every audit."""
        return self.escalate_all, self.threshold, self.reason

    def as_careful_as(self, other: AuditVerdict) -> bool:
        """Whether it escalates all that another one does."""
        if self.escalate_all or other.escalate_all:
            return self.escalate_all
        return (self.threshold or 0.0) >= (other.threshold or 0.0)


class Ruling(msgspec.Struct, frozen=True):
    """The verdict in force on a bundle; `version` grows whenever its orders change."""

    task: str
    bundle: str
    version: int
    verdict: AuditVerdict


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, for people and webhooks; never changed afterwards."""

    at: float
    task: str
    bundle: str
    kind: str
    """e.g. `verdict`."""
    reason: str
    actor: str
    """Who did it: a worker, or an operator's address."""
    figures: Mapping[str, Figure] = {}
    id: int = 0
    """Grows in the order in which they can be read; given by the store."""


class Wish(msgspec.Struct, frozen=True):
    """What operators want of every worker; `version` grows whenever it changes."""

    task: str
    """Whose; "" for all tasks; "@" and a router for its own workers alone."""
    name: str
    """e.g. `serving`."""
    version: int
    value: str
    """JSON; whoever follows knows its form."""
    bases: tuple[str, ...]
    """What those who followed it were started with: who is started with the same again follows."""


class Judge(Protocol):
    """Folds the audits of one bundle, in the store's order."""

    def observe(self, audit: Audit) -> None:
        """Take one audit."""
        ...

    @property
    def evidence(self) -> str:
        """All that is remembered, as JSON."""
        ...

    @property
    def verdict(self) -> AuditVerdict:
        """What follows from it."""
        ...


Reopen = Callable[[str | None], Judge]
"""From evidence to its judge; None: nothing was seen yet."""


class StoreAway(Exception):
    """The store cannot be reached or written now; the message says why."""
