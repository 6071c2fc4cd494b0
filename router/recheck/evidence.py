"""What all processes know of one teacher since it labelled, in the store that they share.

One row of it is locked while it changes: of all who see that a check is due one may make it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from pydantic import BaseModel, ConfigDict, ValidationError

from router.errors import BadSettings
from router.promise.same_teacher import SameTeacher
from router.recheck.reference import Reference
from router.shared.records import Audit, AuditVerdict, Figure, Judge, Reopen, Ruling
from router.shared.store import Store

TEACHER = "#teacher"
"""Behind a task's name: what is remembered of its teacher, apart from what is of its bundles."""
AGAIN_SHARE = 0.1
"""Of the interval: how soon a check that got no answers, or was cut off, is tried again."""


_STATE = ("changed", "begun_at", "checked_at", "failed")


class CheckedTeacher(BaseModel):
    """For the store. It holds no text."""

    model_config = ConfigDict(extra="forbid")

    known: SameTeacher
    begun_at: float | None = None
    """Unix seconds at which the last check was begun, or these labels were first seen."""
    checked_at: float | None = None
    """Unix seconds at which answers were last compared; None: never."""
    failed: bool = False
    """Whether the last check got no answers, or was cut off."""


class TeacherJudge:
    """The store's `Judge` of one teacher: it is told answers of today, no audits."""

    def __init__(self, remembered: CheckedTeacher) -> None:
        self.remembered = remembered

    def claim(self, now: float, every_s: float) -> bool:
        """Begin a check if one is due; whoever sees the labels first only starts the clock."""
        seen = self.remembered
        due = is_due(seen.begun_at, now, every_s, failed=seen.failed)
        if due or seen.begun_at is None:
            self.remembered = seen.model_copy(update={"begun_at": now, "failed": False})
        return due

    def learn(self, pairs: Sequence[tuple[int, int]], now: float, *, cut_off: bool = False) -> None:
        """Take labels on record beside those of today; without any the check has failed."""
        known = self.remembered
        if pairs:
            known = CheckedTeacher(known=known.known.compared(pairs), begun_at=now, checked_at=now)
        self.remembered = known.model_copy(update={"failed": cut_off or not pairs})

    def observe(self, audit: Audit) -> None:
        """Nothing: an audit is about a bundle."""

    @property
    def evidence(self) -> str:
        """All that is remembered."""
        return self.remembered.model_dump_json()

    @property
    def verdict(self) -> AuditVerdict:
        """No orders: what follows from a change is ruled on each bundle."""
        seen = self.remembered
        return AuditVerdict(
            figures={
                **seen.known.figures,
                "changed": int(seen.known.changed),
                "begun_at": seen.begun_at,
                "checked_at": seen.checked_at,
                "failed": int(seen.failed),
            }
        )


class TeacherInStore:
    """The teacher of some labels as the store has it; a keeper's `Follower`."""

    def __init__(self, task: str, reference: Reference) -> None:
        self.task = task + TEACHER
        self.bundle = reference.labels_sha256
        self.reopen = _reopen(reference)
        self.ruling = Ruling(self.task, self.bundle, 0, AuditVerdict())

    @property
    def shown(self) -> dict[str, Figure]:
        """What its answers have shown, as an event says it."""
        known = self.ruling.verdict.figures
        return {name: known[name] for name in known if name not in _STATE}

    def figure(self, name: str) -> float | None:
        """Return a figure as the store had it last."""
        found = self.ruling.verdict.figures.get(name)
        return None if found is None else float(found)

    @property
    def changed(self) -> bool:
        """Whether it is another teacher by now."""
        return bool(self.figure("changed"))

    def due(self, now: float, every_s: float) -> bool:
        """Whether a check is, or nobody has seen these labels yet."""
        begun = self.figure("begun_at")
        return begun is None or is_due(begun, now, every_s, failed=bool(self.figure("failed")))

    def amend(
        self, store: Store, instance: str, change: Callable[[TeacherJudge], None]
    ) -> TeacherJudge:
        """Change what all processes know.

        Raises:
            StoreAway: nothing has changed.
        """
        judges: list[TeacherJudge] = []

        def under_lock(judge: Judge) -> None:
            judges.append(cast("TeacherJudge", judge))
            change(judges[-1])

        self.ruling = store.amend(instance, self.task, self.bundle, self.reopen, under_lock)
        return judges[-1]


def is_due(begun_at: float | None, now: float, every_s: float, *, failed: bool) -> bool:
    """Whether so much time has passed since a check was begun."""
    if begun_at is None:
        return False
    return now - begun_at >= (AGAIN_SHARE * every_s if failed else every_s)


def _reopen(reference: Reference) -> Reopen:
    unseen = reference.unseen

    def reopen(evidence: str | None) -> Judge:
        if evidence is None:
            return TeacherJudge(CheckedTeacher(known=unseen))
        try:
            return TeacherJudge(CheckedTeacher.model_validate_json(evidence))
        except ValidationError as fault:
            raise BadSettings(
                "what is known of the teacher cannot be read, so a change may be forgotten "
                f"({fault.errors()[0]['msg']}); restore the shared store, or label anew"
            ) from None

    return reopen
