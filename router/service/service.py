"""What the router serves: one pipeline for each task, and the state they share."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from router.clock import Clock
from router.errors import (
    BadRequest,
    BadSettings,
    Forbidden,
    Overloaded,
    Refusal,
    Unavailable,
    UnknownModel,
)
from router.http.hot_route import Call
from router.keys.ring import KeyRing, KeySpec
from router.ledger.entry import Ledger
from router.ledger.feedback import FeedbackBox, MemoryFeedback
from router.notify.sender import Sender
from router.promise.watch import Watch
from router.request import Ask
from router.service.passthrough import Passthrough
from router.service.readings import readings
from router.service.served import Served
from router.settings import Settings
from router.shared.keeper import Keeper
from router.shared.purser import Purser
from router.telemetry.exposition import Exposition
from router.telemetry.metrics import Metrics
from router.worker_share import Share

ReadKeys = Callable[[], Sequence[KeySpec]]
"""Reads the API keys as they are now.

Raises:
    BadSettings: they cannot be read.
"""
log = logging.getLogger(__name__)
_TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
PROBE_TEXT = "Is anybody there?"


class Service:
    """The tasks by name, started and drained together."""

    def __init__(
        self,
        tasks: Mapping[str, Served],
        ledger: Ledger,
        metrics: Metrics,
        settings: Settings,
        *,
        feedback: FeedbackBox | None = None,
        keys: KeyRing | None = None,
        read_keys: ReadKeys | None = None,
        share: Share | None = None,
        keepers: Mapping[str, Keeper] | None = None,
        bases: Mapping[str, str] | None = None,
        specs: Sequence[KeySpec] = (),
        senders: Sequence[Sender] = (),
        purser: Purser | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.tasks = tasks
        self.ledger = ledger
        self.metrics = metrics
        self.settings = settings
        self.feedback = feedback or MemoryFeedback()
        self.keys = keys
        self.exposition = Exposition(metrics.registry, share)
        self.draining = False
        self.share = share
        self.bases = bases or {}
        """By task: the bundle that this router was started with."""
        self._read_keys = read_keys
        self.specs = specs
        """The API keys of this router's own file, as last read."""
        self._reloaded = False
        self.keepers = keepers or {}
        """By task; tasks of one work_dir share theirs."""
        self.senders = tuple(senders)
        self._purser = purser
        self._on_close = on_close

    def start(self) -> None:
        """Start the students' workers and watch what only a scrape needs to know."""
        for served in self.tasks.values():
            served.pipeline.slot.start()
            for watcher in served.watchers:
                watcher.start()
        for keeper in self._links:
            keeper.start()
        for sender in self.senders:
            sender.start()
        if self._purser is not None:
            self._purser.start()
        self.metrics.watch(readings(self))

    @property
    def clock(self) -> Clock:
        """The monotonic clock that deadlines are read on."""
        return next(iter(self.tasks.values())).pipeline.clock

    @property
    def models(self) -> list[str]:
        """Every name that a chat completion may ask for, in order."""
        names = {name for s in self.tasks.values() for name in (s.task.name, s.task.teacher.model)}
        passed = [s.passthrough.models for s in self.tasks.values() if s.passthrough is not None]
        return sorted(names.union(*passed))

    def watches(self) -> list[Watch]:
        """What is audited, over all tasks."""
        return [
            model.watch
            for served in self.tasks.values()
            for model in served.pipeline.slot.models
            if model.watch is not None
        ]

    @property
    def _links(self) -> list[Keeper]:
        return list(dict.fromkeys(self.keepers.values()))

    def queue_depth(self) -> int:
        """Texts that wait for a student, over all tasks."""
        return sum(
            model.batcher.depth
            for served in self.tasks.values()
            for model in served.pipeline.slot.models
        )

    def waiting_for_teachers(self) -> int:
        """Requests that wait for a teacher or for their turn with one, over all tasks."""
        return sum(
            bulkhead.inflight + bulkhead.waiting
            for served in self.tasks.values()
            for bulkhead in served.bulkheads
        )

    def find(self, name: str | None) -> Served:
        """Return the task of that name; without a name, the only one.

        Raises:
            UnknownModel, BadRequest: with the names there are.
        """
        if name is None:
            if len(self.tasks) == 1:
                return next(iter(self.tasks.values()))
            raise BadRequest(f"`model` is missing; name one of the tasks: {', '.join(self.tasks)}.")
        try:
            return self.tasks[name]
        except KeyError:
            raise UnknownModel(
                f"There is no task of that name; the tasks are: {', '.join(self.tasks)}."
            ) from None

    def passthrough_of(self, model: str) -> Passthrough:
        """Return what passes calls for a model on: the first task whose teacher takes them.

        Raises:
            UnknownModel: with the models there are.
        """
        for served in self.tasks.values():
            if served.passthrough is not None and model in served.passthrough.models:
                return served.passthrough
        passed = {
            name for s in self.tasks.values() if s.passthrough for name in s.passthrough.models
        }
        raise UnknownModel(
            f"Calls for this model are not passed on; those for these are: "
            f"{', '.join(sorted(passed)) or 'none'} (teacher.passthrough in the task file)."
        )

    def ask(
        self,
        call: Call,
        text: str,
        surface: str,
        deadline_ms: float | None = None,
        threshold: float | None = None,
        student_only: bool = False,
    ) -> Ask:
        """Put a text and its limits in the pipeline's terms.

        Raises:
            BadRequest: the text is empty or too long, or the deadline is out of bounds.
            Forbidden: this key may not ask the student alone, or for so high a threshold.
        """
        key, limits = call.key, self.settings
        if key is not None:
            if student_only and not key.student_only:
                raise Forbidden(
                    "This API key may not ask the student alone; leave out `student_only`, or ask "
                    "for a key that may."
                )
            key.check_threshold(threshold)
        fault = self.fault_of(text)
        if fault is not None:
            raise BadRequest(fault)
        if deadline_ms is None:
            deadline_ms = limits.deadline_ms
        elif not limits.min_deadline_ms <= deadline_ms <= limits.max_deadline_ms:
            raise BadRequest(
                f"`deadline_ms` is out of bounds; give {limits.min_deadline_ms:g} to "
                f"{limits.max_deadline_ms:g}."
            )
        trace = call.headers.get(b"traceparent")
        return Ask(  # in the order of its fields: by name it takes 1 µs longer
            text,
            call.request_id,
            surface,
            call.received_at + deadline_ms / 1000.0,
            threshold,
            student_only,
            call.client,
            "" if key is None else key.name,
            0 if key is None else key.priority,
            None if key is None else key.may_ask_the_teacher,
            "" if trace is None or not _TRACE.fullmatch(trace) else trace.decode(),
            call.received_at,
        )

    def fault_of(self, text: str) -> str | None:
        """Say what keeps a text from the student, or None."""
        if not text or text.isspace():
            return "A text is empty; send at least one visible character."
        limit = self.settings.max_text_chars
        if len(text) > limit:
            return f"A text has {len(text):,} characters; {limit:,} are allowed."
        return None

    def alive(self) -> bool:
        """Whether every student's worker lives and none hangs."""
        return all(
            model.batcher.alive(self.settings.stall_s)
            for served in self.tasks.values()
            for model in served.pipeline.slot.models
        )

    async def ready(self) -> None:
        """Prove one inference of every task through its batcher, in time.

        A queue that is full, or long and moving, is no reason: to take a busy router out of the
        balancer makes the next one busier.

        Raises:
            Unavailable: naming the task that did not answer, or that the router is draining.
        """
        if self.draining:
            raise Unavailable("The router is draining; ask another instance.")
        for name, served in self.tasks.items():
            batcher = served.pipeline.slot.current.batcher
            before = batcher.batches
            try:
                async with asyncio.timeout(self.settings.probe_timeout_s):
                    scored = await batcher.submit(PROBE_TEXT)
            except Overloaded:
                if batcher.alive(self.settings.stall_s):
                    continue
                raise Unavailable(f"The student of task {name} hangs; its queue is full.") from None
            except TimeoutError:
                if batcher.batches > before:
                    continue
                raise Unavailable(
                    f"The student of task {name} did not answer within "
                    f"{self.settings.probe_timeout_s:g} s."
                ) from None
            except Refusal as refusal:
                raise Unavailable(f"The student of task {name}: {refusal}") from None
            if scored.prediction is None:
                raise Unavailable(f"The student of task {name} fails; see the log.")

    def reload_keys(self) -> None:
        """Read the API keys again; a file that is wrong changes nothing, and the log says why."""
        if self.keys is None or self._read_keys is None:
            log.info("there are no API keys to read again; start with --keys")
            return
        try:
            specs = self._read_keys()
        except BadSettings as fault:
            log.error("the API keys stay as they were: %s", fault)
            return
        self.use_keys(specs)
        self.specs, self._reloaded = specs, True

    def use_keys(self, specs: Sequence[KeySpec]) -> None:
        """Let these API keys in and no others; this worker keeps its part of their limits."""
        assert self.keys is not None, "there is nothing to let in"
        self.keys.replace(specs if self.share is None else self.share.of_keys(specs))
        log.info("%d API keys are known now", len(specs))

    def take_reloaded_keys(self) -> Sequence[KeySpec] | None:
        """Return the keys that were read again and not yet told to other workers."""
        reloaded, self._reloaded = self._reloaded, False
        return self.specs if reloaded else None

    async def close(self) -> None:
        """Finish what was accepted, then store the ledger."""
        self.draining = True
        await asyncio.gather(*(_close(served) for served in self.tasks.values()))
        await self.exposition.stop()
        await asyncio.gather(*(sender.close() for sender in self.senders))
        if self._purser is not None:
            await asyncio.to_thread(self._purser.close)
        for keeper in self._links:
            await asyncio.to_thread(keeper.close)
        await asyncio.to_thread(self.ledger.close)
        if self._on_close is not None:
            await self._on_close()


async def _close(served: Served) -> None:
    for watcher in served.watchers:
        await watcher.close()
    await served.pipeline.slot.close()
    await served.pipeline.close()
    if served.passthrough is not None:
        await served.passthrough.aclose()
    await served.pipeline.guard.teacher.aclose()


def refuse_student_only(asked: Any) -> None:
    """Refuse the field on a surface that would overlook it, and ask the teacher it forbids.

    Raises:
        BadRequest: the field is there, whatever its value.
    """
    if asked is not msgspec.UNSET:
        raise BadRequest("`student_only` is a field of /v1/classify alone; ask there.")
