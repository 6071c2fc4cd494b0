"""What a scrape reads of a service: gauges and counters that somebody else keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING

from router.service.served import Served
from router.telemetry.metrics import Read, Reading

if TYPE_CHECKING:
    from router.service.service import Service
    from students.texts.store import TextWriter

_BUILD: dict[tuple[str, ...], float] = {(version("raisehand"), python_version()): 1.0}


def readings(service: Service) -> list[Reading]:
    """Return what is read at every scrape."""
    return [
        Reading(
            "raisehand_build_info",
            "Version that runs; always 1.",
            lambda: _BUILD,
            labels=("version", "python"),
        ),
        Reading(
            "raisehand_bundle_info",
            "Bundles in service: `current`, `canary`, `previous`; always 1.",
            partial(_bundles, service),
            labels=("task", "bundle", "role"),
        ),
        Reading(
            "raisehand_queue_depth",
            "Texts waiting for a student.",
            _by_task(
                service, lambda served: sum(m.batcher.depth for m in served.pipeline.slot.models)
            ),
            labels=("task",),
        ),
        Reading(
            "raisehand_teacher_inflight",
            "Teacher calls in flight, those passed on included.",
            _by_task(
                service, lambda served: sum(bulkhead.inflight for bulkhead in served.bulkheads)
            ),
            labels=("task",),
        ),
        Reading(
            "raisehand_teacher_limit",
            "Teacher calls that may be in flight; falls while the teacher is congested.",
            _by_task(service, lambda served: sum(bulkhead.limit for bulkhead in served.bulkheads)),
            labels=("task",),
        ),
        Reading(
            "raisehand_teacher_refusal_ratio",
            "Share of escalations that the throttle refuses now.",
            _by_task(service, lambda served: served.pipeline.guard.throttle.refusal_probability),
            labels=("task",),
        ),
        Reading(
            "raisehand_ledger_dropped_total",
            "Ledger entries that were lost.",
            lambda: service.ledger.dropped,
            counter=True,
        ),
        Reading(
            "raisehand_ledger_backlog",
            "Ledger entries that wait to be stored.",
            lambda: service.ledger.backlog.entries,
        ),
        Reading(
            "raisehand_ledger_backlog_age_seconds",
            "Age of the oldest ledger entry that waits to be stored.",
            lambda: service.ledger.backlog.oldest_s,
        ),
        Reading(
            "raisehand_ledger_write_errors_total",
            "Times that ledger entries could not be stored and were tried again.",
            lambda: service.ledger.backlog.errors,
            counter=True,
        ),
        Reading(
            "raisehand_promise_broken",
            "Bundles whose audits say that their certificate no longer holds.",
            lambda: sum(watch.alarmed for watch in service.watches()),
        ),
        Reading(
            "raisehand_audit_e_value",
            "Largest evidence against a certificate, of all workers' audits; the alarm is "
            "at 40, and higher after each alarm.",
            lambda: max((watch.figure("e_value", 1.0) for watch in service.watches()), default=1.0),
        ),
        Reading(
            "raisehand_teacher_checked_timestamp_seconds",
            "When the teacher was last asked again about rows on record; 0: never yet.",
            partial(_checks, service, "checked_at"),
            labels=("task",),
        ),
        Reading(
            "raisehand_teacher_changed",
            "Whether another teacher answers by its name: what rests on the old one is void.",
            partial(_checks, service, "changed"),
            labels=("task",),
        ),
        Reading(
            "raisehand_teacher_retires_timestamp_seconds",
            "Day on which the teacher's supplier ends it, where that is known.",
            partial(_ends, service),
            labels=("task",),
        ),
        Reading(
            "raisehand_input_shift",
            "How far the last 1,000 requests of a signal are from the usual (population "
            "stability index); a hint, no guarantee.",
            partial(_shifts, service),
            labels=("task", "signal"),
        ),
        Reading(
            "raisehand_promise_rung",
            "Highest rung of the ladder that is in force; 0: as certified.",
            lambda: max((watch.figure("rung") for watch in service.watches()), default=0.0),
        ),
        Reading(
            "raisehand_promise_threshold",
            "Confidence below which audits have the teacher asked; 0: as certified, 1: always.",
            lambda: max((watch.floor for watch in service.watches()), default=0.0),
        ),
        Reading(
            "raisehand_rung_evidence_ratio",
            "Evidence that a lower threshold keeps the promise again, of what brings the "
            "ladder down (1), of the bundle that has the least; 1 where none waits.",
            lambda: min((watch.proved for watch in service.watches()), default=1.0),
        ),
        Reading(
            "raisehand_audits_lost_total",
            "Answers drawn for an audit that could not be compared.",
            partial(_audits_lost, service),
            counter=True,
        ),
        Reading(
            "raisehand_texts_stored_total",
            "Texts kept, where the task keeps any.",
            lambda: sum(writer.stored for writer in _text_writers(service)),
            counter=True,
        ),
        Reading(
            "raisehand_texts_expired_total",
            "Kept texts deleted because of their age.",
            lambda: sum(writer.expired for writer in _text_writers(service)),
            counter=True,
        ),
        Reading(
            "raisehand_texts_dropped_total",
            "Texts that should have been kept and were not: their file was not writable.",
            lambda: sum(writer.dropped for writer in _text_writers(service)),
            counter=True,
        ),
        Reading(
            "raisehand_webhooks_delivered_total",
            "Events that a receiver took.",
            lambda: sum(sender.delivered for sender in service.senders),
            counter=True,
        ),
        Reading(
            "raisehand_webhook_failures_total",
            "Attempts to tell a receiver that it did not take; they are repeated.",
            lambda: sum(sender.failures for sender in service.senders),
            counter=True,
        ),
        Reading(
            "raisehand_webhooks_given_up_total",
            "Events that a receiver did not take for a day.",
            lambda: sum(sender.given_up for sender in service.senders),
            counter=True,
        ),
        Reading(
            "raisehand_shared_store_up",
            "Whether the store that all workers share can be used; 0: the last rulings "
            "stay in force.",
            lambda: not any(keeper.away for keeper in service._links),
        ),
        Reading(
            "raisehand_shared_backlog",
            "Audits that wait for the shared store.",
            lambda: sum(keeper.waiting for keeper in service._links),
        ),
    ]


def _by_task(service: Service, read: Callable[[Served], float]) -> Read:
    def all_tasks() -> dict[tuple[str, ...], float]:
        return {(name,): read(served) for name, served in service.tasks.items()}

    return all_tasks


def _checks(service: Service, figure: str) -> dict[tuple[str, ...], float]:
    """Of the tasks whose teacher is asked again here."""
    found: dict[tuple[str, ...], float] = {}
    for name, served in service.tasks.items():
        teacher = served.teacher_check and served.teacher_check.teacher
        if teacher:
            found[name,] = teacher.figure(figure) or 0.0
    return found


def _ends(service: Service) -> dict[tuple[str, ...], float]:
    tasks = service.tasks.items()
    return {(name,): served.retirement.at for name, served in tasks if served.retirement}


def _shifts(service: Service) -> dict[tuple[str, ...], float]:
    """Of the bundle that answers, by task and signal."""
    found: dict[tuple[str, ...], float] = {}
    for name, served in service.tasks.items():
        watch = served.pipeline.slot.current.watch
        if watch is not None and watch.hints is not None:
            found |= {(name, signal): x for signal, x in watch.hints.indices.items()}
    return found


def _bundles(service: Service) -> dict[tuple[str, ...], float]:
    return {
        (name, bundle, role): 1.0
        for name, served in service.tasks.items()
        for role, bundle in served.pipeline.slot.roles.items()
    }


def _audits_lost(service: Service) -> int:
    auditors = [served.pipeline.auditor for served in service.tasks.values()]
    return sum(auditor.lost for auditor in auditors if auditor is not None) + sum(
        keeper.lost for keeper in service._links
    )


def _text_writers(service: Service) -> Iterator[TextWriter]:
    for served in service.tasks.values():
        if served.pipeline.booking.texts is not None:
            yield served.pipeline.booking.texts.writer
