"""What the router serves: one pipeline for each task, and the state they share."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from platform import python_version
from typing import Any

import msgspec

from router.api.passthrough import Passthrough
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
from router.pipeline import Pipeline
from router.promise.watch import Watch
from router.request import Ask
from router.settings import Settings
from router.shared.keeper import Keeper
from router.shared.purser import Purser
from router.teacher.bulkhead import Bulkhead
from router.telemetry.exposition import Exposition
from router.telemetry.metrics import Metrics, Read, Reading
from router.worker_share import Share
from students.task import Task
from students.texts.store import TextWriter

ReadKeys = Callable[[], Sequence[KeySpec]]
"""Reads the API keys as they are now.

Raises:
    BadSettings: they cannot be read.
"""
log = logging.getLogger(__name__)
_TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_BUILD: dict[tuple[str, ...], float] = {(version("raisehand"), python_version()): 1.0}
PROBE_TEXT = "Is anybody there?"


@dataclass(frozen=True, slots=True)
class Served:
    """One task in service. `passthrough` is None where nothing is passed on to its teacher."""

    task: Task
    pipeline: Pipeline
    passthrough: Passthrough | None = None
    words: tuple[str, ...] = field(init=False)
    """The teacher's word for each label, found once: it is asked for with every answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", self.task.answers)

    @property
    def bulkheads(self) -> tuple[Bulkhead, ...]:
        """What limits the calls to the teacher: escalations, and what is passed on."""
        own = self.pipeline.guard.bulkhead
        return (own,) if self.passthrough is None else (own, self.passthrough.guard.bulkhead)

    def passes_on(self, model: str) -> bool:
        """Whether calls for a model are passed on to this task's teacher."""
        return self.passthrough is not None and model in self.passthrough.models


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
        for keeper in self._links:
            keeper.start()
        for sender in self.senders:
            sender.start()
        if self._purser is not None:
            self._purser.start()
        self.metrics.watch(
            [
                Reading(
                    "raisehand_build_info",
                    "Version that runs; always 1.",
                    lambda: _BUILD,
                    labels=("version", "python"),
                ),
                Reading(
                    "raisehand_bundle_info",
                    "Bundles in service: `current`, `canary`, `previous`; always 1.",
                    self._bundles,
                    labels=("task", "bundle", "role"),
                ),
                Reading(
                    "raisehand_queue_depth",
                    "Texts waiting for a student.",
                    self._by_task(
                        lambda served: sum(m.batcher.depth for m in served.pipeline.slot.models)
                    ),
                    labels=("task",),
                ),
                Reading(
                    "raisehand_teacher_inflight",
                    "Teacher calls in flight, those passed on included.",
                    self._by_task(
                        lambda served: sum(bulkhead.inflight for bulkhead in served.bulkheads)
                    ),
                    labels=("task",),
                ),
                Reading(
                    "raisehand_teacher_limit",
                    "Teacher calls that may be in flight; falls while the teacher is congested.",
                    self._by_task(
                        lambda served: sum(bulkhead.limit for bulkhead in served.bulkheads)
                    ),
                    labels=("task",),
                ),
                Reading(
                    "raisehand_teacher_refusal_ratio",
                    "Share of escalations that the throttle refuses now.",
                    self._by_task(
                        lambda served: served.pipeline.guard.throttle.refusal_probability
                    ),
                    labels=("task",),
                ),
                Reading(
                    "raisehand_ledger_dropped_total",
                    "Ledger entries that were lost.",
                    lambda: self.ledger.dropped,
                    counter=True,
                ),
                Reading(
                    "raisehand_ledger_backlog",
                    "Ledger entries that wait to be stored.",
                    lambda: self.ledger.backlog.entries,
                ),
                Reading(
                    "raisehand_ledger_backlog_age_seconds",
                    "Age of the oldest ledger entry that waits to be stored.",
                    lambda: self.ledger.backlog.oldest_s,
                ),
                Reading(
                    "raisehand_ledger_write_errors_total",
                    "Times that ledger entries could not be stored and were tried again.",
                    lambda: self.ledger.backlog.errors,
                    counter=True,
                ),
                Reading(
                    "raisehand_promise_broken",
                    "Bundles whose audits say that their certificate no longer holds.",
                    lambda: sum(watch.alarmed for watch in self.watches()),
                ),
                Reading(
                    "raisehand_audit_e_value",
                    "Largest evidence against a certificate, of all workers' audits; the alarm is "
                    "at 40, and higher after each alarm.",
                    lambda: max(
                        (watch.figure("e_value", 1.0) for watch in self.watches()), default=1.0
                    ),
                ),
                Reading(
                    "raisehand_input_shift",
                    "How far the last 1,000 requests of a signal are from the usual (population "
                    "stability index); a hint, no guarantee.",
                    self._shifts,
                    labels=("task", "signal"),
                ),
                Reading(
                    "raisehand_promise_rung",
                    "Highest rung of the ladder that is in force; 0: as certified.",
                    lambda: max((watch.figure("rung") for watch in self.watches()), default=0.0),
                ),
                Reading(
                    "raisehand_promise_threshold",
                    "Confidence below which audits have the teacher asked; 0: as certified, "
                    "1: always.",
                    lambda: max((watch.floor for watch in self.watches()), default=0.0),
                ),
                Reading(
                    "raisehand_rung_evidence_ratio",
                    "Evidence that a lower threshold keeps the promise again, of what brings the "
                    "ladder down (1), of the bundle that has the least; 1 where none waits.",
                    lambda: min((watch.proved for watch in self.watches()), default=1.0),
                ),
                Reading(
                    "raisehand_audits_lost_total",
                    "Answers drawn for an audit that could not be compared.",
                    self._audits_lost,
                    counter=True,
                ),
                Reading(
                    "raisehand_texts_stored_total",
                    "Texts kept, where the task keeps any.",
                    lambda: sum(writer.stored for writer in self._text_writers()),
                    counter=True,
                ),
                Reading(
                    "raisehand_texts_expired_total",
                    "Kept texts deleted because of their age.",
                    lambda: sum(writer.expired for writer in self._text_writers()),
                    counter=True,
                ),
                Reading(
                    "raisehand_texts_dropped_total",
                    "Texts that should have been kept and were not: their file was not writable.",
                    lambda: sum(writer.dropped for writer in self._text_writers()),
                    counter=True,
                ),
                Reading(
                    "raisehand_webhooks_delivered_total",
                    "Events that a receiver took.",
                    lambda: sum(sender.delivered for sender in self.senders),
                    counter=True,
                ),
                Reading(
                    "raisehand_webhook_failures_total",
                    "Attempts to tell a receiver that it did not take; they are repeated.",
                    lambda: sum(sender.failures for sender in self.senders),
                    counter=True,
                ),
                Reading(
                    "raisehand_webhooks_given_up_total",
                    "Events that a receiver did not take for a day.",
                    lambda: sum(sender.given_up for sender in self.senders),
                    counter=True,
                ),
                Reading(
                    "raisehand_shared_store_up",
                    "Whether the store that all workers share can be used; 0: the last rulings "
                    "stay in force.",
                    lambda: not any(keeper.away for keeper in self._links),
                ),
                Reading(
                    "raisehand_shared_backlog",
                    "Audits that wait for the shared store.",
                    lambda: sum(keeper.waiting for keeper in self._links),
                ),
            ]
        )

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

    def _shifts(self) -> dict[tuple[str, ...], float]:
        """Of the bundle that answers, by task and signal."""
        found: dict[tuple[str, ...], float] = {}
        for name, served in self.tasks.items():
            watch = served.pipeline.slot.current.watch
            if watch is not None and watch.hints is not None:
                found |= {(name, signal): x for signal, x in watch.hints.indices.items()}
        return found

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

    def _audits_lost(self) -> int:
        auditors = [served.pipeline.auditor for served in self.tasks.values()]
        return sum(auditor.lost for auditor in auditors if auditor is not None) + sum(
            keeper.lost for keeper in self._links
        )

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

    def _by_task(self, read: Callable[[Served], float]) -> Read:
        def all_tasks() -> dict[tuple[str, ...], float]:
            return {(name,): read(served) for name, served in self.tasks.items()}

        return all_tasks

    def _bundles(self) -> dict[tuple[str, ...], float]:
        return {
            (name, bundle, role): 1.0
            for name, served in self.tasks.items()
            for role, bundle in served.pipeline.slot.roles.items()
        }

    def _text_writers(self) -> Iterator[TextWriter]:
        for served in self.tasks.values():
            if served.pipeline.booking.texts is not None:
                yield served.pipeline.booking.texts.writer

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
        if student_only and call.key is not None and not call.key.student_only:
            raise Forbidden(
                "This API key may not ask the student alone; leave out `student_only`, or ask for "
                "a key that may."
            )
        if call.key is not None:
            call.key.check_threshold(threshold)
        limits = self.settings
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
        return Ask(
            text=text,
            request_id=call.request_id,
            surface=surface,
            deadline=call.received_at + deadline_ms / 1000.0,
            threshold=threshold,
            student_only=student_only,
            client=call.client,
            key=call.key.name if call.key else "",
            priority=call.key.priority if call.key else 0,
            may_escalate=call.key.may_ask_the_teacher if call.key else None,
            traceparent=_trace_of(call),
            received_at=call.received_at,
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
    await served.pipeline.slot.close()
    await served.pipeline.close()
    if served.passthrough is not None:
        await served.passthrough.aclose()
    await served.pipeline.guard.teacher.aclose()


def _trace_of(call: Call) -> str:
    given = call.headers.get(b"traceparent")
    return "" if given is None or not _TRACE.fullmatch(given) else given.decode()


def refuse_student_only(asked: Any) -> None:
    """Refuse the field on a surface that would overlook it, and ask the teacher it forbids.

    Raises:
        BadRequest: the field is there, whatever its value.
    """
    if asked is not msgspec.UNSET:
        raise BadRequest("`student_only` is a field of /v1/classify alone; ask there.")
