"""The way of a candidate: beside the student that serves, then a growing share, then all of it.

Nothing here is by feeling: a step up needs the duel's word (`router.promise.duel`), and one that is
shown to be worse is taken out by every worker itself, whoever looks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from router.api.tasks import Served, Service
from router.errors import BadSettings, Conflict
from router.promise.duel import Outlook
from router.shadow import Shadow
from router.student.loaded import Model
from students.runtime.bundle import name_latest

log = logging.getLogger(__name__)
Loaded = Callable[[Served, str], Awaitable[Model]]
"""The model of a bundle, loaded once."""


class ShadowBody(BaseModel):
    """Which bundle."""

    model_config = ConfigDict(extra="forbid")
    bundle: str = Field(pattern=r"^[0-9a-f]{12}$")


class Candidacy:
    """The candidate of one task in this process."""

    def __init__(self, service: Service, served: Served) -> None:
        self._service = service
        self._served = served
        self._pipeline = served.pipeline
        self._slot = served.pipeline.slot
        self._rules = served.task.promotion
        self._ending: set[asyncio.Task[None]] = set()

    async def begin(self, model: Model) -> None:
        """Score a model beside the current one; asked again for the same one, go on.

        Raises:
            BadSettings: it serves already, another one is the shadow, or nothing is audited.
        """
        if self._pipeline.auditor is None:
            raise BadSettings(
                "audit_rate is 0: nothing is drawn that a candidate could be compared on"
            )
        known = self._pipeline.shadow
        if known is not None and known.candidate is model:
            return
        self._slot.set_shadow(model)
        keeper = self._service.keepers[self._served.task.name]
        shadow = Shadow(
            self._served.task.name,
            self._slot.current,
            model,
            self._rules,
            keeper.store,
            keeper.instance,
        )
        self._pipeline.shadow = shadow
        shadow.start(self._follow)

    async def end(self) -> None:
        """Take the candidate out, of its share of the traffic, too.

        Raises:
            BadSettings: there is none.
        """
        shadow = self._pipeline.shadow
        if shadow is None:
            raise BadSettings("there is no shadow to end")
        self._pipeline.shadow = None
        if self._slot.canary is shadow.candidate:
            self._slot.end_canary(promote=False)
        if self._slot.shadow is not None:
            left = self._slot.end_shadow()
            if left is not None:
                await left.retire()
        await shadow.close()

    async def promote(self) -> None:
        """Take one step: the next share, or all of the traffic.

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
        now = self._slot.canary_share if self._slot.canary is shadow.candidate else 0.0
        await self._give(shadow, next((step for step in self._rules.steps if step > now), 1.0))

    async def _give(self, shadow: Shadow, share: float) -> None:
        if share < 1.0:
            self._slot.set_canary(shadow.candidate, share)
            return
        self._pipeline.shadow = None
        left = self._slot.swap(shadow.candidate)
        name_latest(self._served.task.work_dir / "bundles", shadow.candidate.bundle)
        await shadow.close()
        if left is not None:
            await left.retire()

    def _follow(self, outlook: Outlook, earned_share: float) -> None:
        """Act on what the duel says: out at once where it is worse, up where the task allows it."""
        shadow = self._pipeline.shadow
        if shadow is None:
            return
        watch = shadow.candidate.watch
        if outlook is Outlook.WORSE or (watch is not None and watch.alarmed):
            log.error("candidate %s is worse: it is taken out", shadow.candidate.bundle)
            self._later(self.end())
        elif self._rules.automatic and earned_share > self._share_of(shadow):
            log.warning("candidate %s takes %g", shadow.candidate.bundle, earned_share)
            self._later(self._give(shadow, earned_share))

    def _share_of(self, shadow: Shadow) -> float:
        return self._slot.canary_share if self._slot.canary is shadow.candidate else 0.0

    def _later(self, act: Any) -> None:
        """Act outside of the shadow's own task, which the act may end."""
        task = asyncio.ensure_future(_logged(act))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _logged(act: Awaitable[None]) -> None:
    try:
        await act
    except (BadSettings, OSError) as fault:
        log.error("a candidate's step failed: %s", fault)


def candidate_routes(
    service: Service,
    loaded: Loaded,
    find: Callable[[str], Served],
    state_of: Callable[[Served], Any],
) -> APIRouter:
    """Build the routes of candidates."""
    router = APIRouter()
    candidacies = {name: Candidacy(service, served) for name, served in service.tasks.items()}

    @router.post("/tasks/{name}/shadow", summary="Score a bundle beside the one that serves")
    async def shadow(name: str, body: ShadowBody) -> Any:
        served = find(name)
        served.pipeline.slot.may_be_shadow(body.bundle)
        await candidacies[name].begin(await loaded(served, body.bundle))
        return state_of(served)

    @router.post("/tasks/{name}/shadow/end", summary="Take the candidate out")
    async def end_shadow(name: str) -> Any:
        served = find(name)
        await candidacies[name].end()
        return state_of(served)

    @router.post("/tasks/{name}/promote", summary="One step up for a candidate that is no worse")
    async def promote(name: str) -> Any:
        served = find(name)
        await candidacies[name].promote()
        return state_of(served)

    return router
