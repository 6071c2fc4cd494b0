"""One task in service."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.pipeline import Pipeline
from router.recheck.check import TeacherCheck
from router.recheck.retirement import RetirementWatch
from router.service.passthrough import Passthrough
from router.teacher.bulkhead import Bulkhead
from students.task import Task


@dataclass(frozen=True, slots=True)
class Served:
    """One task in service. `passthrough` is None where nothing is passed on to its teacher."""

    task: Task
    pipeline: Pipeline
    passthrough: Passthrough | None = None
    teacher_check: TeacherCheck | None = None
    """Asks the teacher again now and then; None: nobody does."""
    retirement: RetirementWatch | None = None
    """Tells when the teacher's supplier ends it; None: no date is known."""
    words: tuple[str, ...] = field(init=False)
    """The teacher's word for each label, found once: it is asked for with every answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", self.task.answers)

    @property
    def watchers(self) -> tuple[TeacherCheck | RetirementWatch, ...]:
        """What looks after the teacher beside the requests."""
        return tuple(one for one in (self.teacher_check, self.retirement) if one is not None)

    @property
    def bulkheads(self) -> tuple[Bulkhead, ...]:
        """What limits the calls to the teacher: escalations, and what is passed on."""
        own = self.pipeline.guard.bulkhead
        return (own,) if self.passthrough is None else (own, self.passthrough.guard.bulkhead)

    def passes_on(self, model: str) -> bool:
        """Whether calls for a model are passed on to this task's teacher."""
        return self.passthrough is not None and model in self.passthrough.models
