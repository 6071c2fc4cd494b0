"""The way of a candidate: beside the student that serves, then a growing share, then all of it.

Nothing here is by feeling: a step up needs the duel's word (`router.promise.duel`), and one that is
shown to be worse is taken out by every worker itself, whoever looks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from router.errors import BadSettings, Conflict, RouterError
from router.promise.duel import Outlook
from router.service.served import Served
from router.service.service import Service
from router.shadow import Shadow
from router.student.loaded import Model
from students.runtime.bundle import name_latest

log = logging.getLogger(__name__)
Act = Callable[[], Awaitable[Model | None]]
"""Makes a change here; returns a model to retire."""


class ShadowBody(BaseModel):
    """Which bundle."""

    model_config = ConfigDict(extra="forbid")
    bundle: str = Field(pattern=r"^[0-9a-f]{12}$")


class Candidacy:
    """The candidate of one task in this process.

    Args:
        service: of which the task is.
        served: the task.
        change: makes a change here and has all workers follow.
    """

    def __init__(
        self, service: Service, served: Served, change: Callable[[Served, Act], Awaitable[None]]
    ) -> None:
        self._service = service
        self._served = served
        self._change = change
        self._pipeline = served.pipeline
        self._slot = served.pipeline.slot
        self._rules = served.task.promotion
        self._acting: asyncio.Task[None] | None = None

    def begin(self, model: Model) -> None:
        """Let a model be scored beside the current one.

        Raises:
            BadSettings: it serves already, another one is the shadow, or nothing is audited.
        """
        if self._pipeline.auditor is None:
            raise BadSettings(
                "audit_rate is 0: nothing is drawn that a candidate could be compared on"
            )
        self._slot.set_shadow(model)

    async def end(self) -> Model | None:
        """Take the candidate out, of its share of the traffic, too; return a model to retire.

        Raises:
            BadSettings: there is none.
        """
        if self._slot.canary is self._slot.shadow and self._slot.canary is not None:
            self._slot.end_canary(promote=False)
        return self._slot.end_shadow()

    async def promote(self) -> Model | None:
        """Take one step: the next share, or all of the traffic; return a model to retire.

        Raises:
            Conflict: there is no candidate, or it is not shown to be no worse; with the figures.
        """
        shadow = self._pipeline.shadow
        if shadow is None:
            raise Conflict("There is no candidate; POST …/shadow names one.")
        await shadow.exchange()
        figures = {} if shadow.ruling is None else dict(shadow.ruling.verdict.figures)
        if figures.get("outlook") != Outlook.NOT_WORSE:
            raise Conflict(f"The candidate is not shown to be no worse yet: {figures}")
        now = self._share_of(shadow)
        return self._give(shadow, next((step for step in self._rules.steps if step > now), 1.0))

    async def fit(self) -> None:
        """Compare the slot's shadow with its current student, and no other ones."""
        shadow, slot = self._pipeline.shadow, self._slot
        if shadow is not None and (shadow.candidate, shadow.current) != (slot.shadow, slot.current):
            self._pipeline.shadow = None
            await shadow.close()
        if slot.shadow is not None and self._pipeline.shadow is None:
            keeper = self._service.keepers[self._served.task.name]
            self._pipeline.shadow = Shadow(
                self._served.task.name,
                slot.current,
                slot.shadow,
                self._rules,
                keeper.store,
                keeper.instance,
            )
            self._pipeline.shadow.start(self._follow)

    def name(self, before: str) -> bool:
        """Have who starts later begin with a candidate, if it answers everything now.

        Args:
            before: the bundle that was the candidate before the change.
        """
        if self._slot.current.bundle != before:
            return False
        name_latest(self._served.task.work_dir / "bundles", before)
        return True

    def _give(self, shadow: Shadow, share: float) -> Model | None:
        if share < 1.0:
            self._slot.set_canary(shadow.candidate, share)
            return None
        return self._slot.swap(shadow.candidate)

    def _follow(self, outlook: Outlook, earned_share: float) -> None:
        """Act on what the duel says: out at once where it is worse, up where the task allows it."""
        shadow = self._pipeline.shadow
        if shadow is None:
            return
        watch = shadow.candidate.watch
        if outlook is Outlook.WORSE or (watch is not None and watch.alarmed):
            log.error("candidate %s is worse: it is taken out", shadow.candidate.bundle)
            self._later(self.end)
        elif self._rules.automatic and earned_share > self._share_of(shadow):
            log.warning("candidate %s takes %g", shadow.candidate.bundle, earned_share)

            async def give() -> Model | None:
                return self._give(shadow, earned_share)

            self._later(give)

    def _share_of(self, shadow: Shadow) -> float:
        return self._slot.canary_share if self._slot.canary is shadow.candidate else 0.0

    def _later(self, act: Act) -> None:
        """Act outside of the shadow's own task, which the act may end; one act at a time."""
        if self._acting is None or self._acting.done():
            self._acting = asyncio.ensure_future(self._logged(act))

    async def _logged(self, act: Act) -> None:
        try:
            await self._change(self._served, act)
        except (RouterError, OSError) as fault:
            # Another worker may have acted first; the next look finds what is left to do.
            log.warning("a candidate's step was not taken: %s", fault)


class Candidates(Protocol):
    """Whoever has the candidacies of all tasks, and loads bundles."""

    @property
    def candidacies(self) -> Mapping[str, Candidacy]:
        """By task."""
        ...

    async def loaded(self, served: Served, bundle: str) -> Model:
        """Return the model of a bundle."""
        ...


Make = Callable[[str, Callable[[Served], Awaitable[Model | None]]], Awaitable[Any]]
"""Makes a change of a task, by its name; returns the task's state."""


def candidate_routes(candidates: Candidates, make: Make) -> APIRouter:
    """Build the routes of candidates."""
    router = APIRouter()

    @router.post("/tasks/{name}/shadow", summary="Score a bundle beside the one that serves")
    async def shadow(name: str, body: ShadowBody) -> Any:
        async def act(served: Served) -> None:
            served.pipeline.slot.may_be_shadow(body.bundle)
            candidates.candidacies[name].begin(await candidates.loaded(served, body.bundle))

        return await make(name, act)

    @router.post("/tasks/{name}/shadow/end", summary="Take the candidate out")
    async def end_shadow(name: str) -> Any:
        return await make(name, lambda served: candidates.candidacies[name].end())

    @router.post("/tasks/{name}/promote", summary="One step up for a candidate that is no worse")
    async def promote(name: str) -> Any:
        return await make(name, lambda served: candidates.candidacies[name].promote())

    return router
