"""From task files and bundles to a service: everything is checked here, before the first request.

What is wrong stops the start with one sentence. An unreachable teacher does not: the student can
answer without it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import MachinePrice, Price, TokenUsage, now
from router.booking import TextKeeping
from router.errors import BadSettings
from router.keys.ring import KeyRing
from router.keys.spending import SpendingLedger
from router.ledger.entry import Ledger
from router.ledger.feedback import SqliteFeedback
from router.ledger.schema import LEDGER_FILE
from router.ledger.sqlite import SqliteLedger
from router.ledger.text_hash import TextHash, open_text_hash
from router.notify.sender import Sender
from router.notify.webhook import Webhook
from router.pipeline import Pipeline
from router.process.budgets import DaysOfKeys, auditor_of, budget_of, open_purser
from router.process.following.serving import Serving
from router.process.following.steward import SERVING
from router.process.load_model import LoadStudent, load_model
from router.process.shipping import shipped
from router.promise.answered_as import AnsweredAs
from router.recheck.check import TeacherCheck
from router.recheck.retirement import RetirementWatch, end_of
from router.service.passthrough import Passthrough
from router.service.served import Served
from router.service.service import ReadKeys, Service
from router.settings import Settings
from router.shared.keeper import Keeper
from router.shared.memory import Memory
from router.shared.opening import stores_of
from router.shared.purser import Purser
from router.shared.records import Event
from router.student.loaded import Model, ModelSlot
from router.teacher.guard import EscalationGuard
from router.teacher.prices import TeacherPrices
from router.telemetry.metrics import Metrics
from router.worker_share import Share
from students.errors import BadBundle, TeacherError
from students.runtime.load import load_student
from students.runtime.store import obtain
from students.task import Task
from students.teachers import make_teacher
from students.texts.cipher import open_cipher
from students.texts.store import TEXTS_FILE, TextWriter

CHECK_S = 5.0
log = logging.getLogger(__name__)


def build_service(
    tasks: Sequence[tuple[Task, str | None]],
    settings: Settings,
    *,
    ledger_path: Path | None = None,
    read_keys: ReadKeys | None = None,
    load: LoadStudent = load_student,
    share: Share | None = None,
) -> Service:
    """Build what serves the tasks, each with the bundle id given or its latest bundle.

    Raises:
        BadSettings, BadBundle, BadTask, BadLedger, UnknownPrice: what keeps it from starting.
    """
    names = [task.name for task, _ in tasks]
    if not names or len(set(names)) != len(names):
        raise BadSettings(f"tasks must be given and have different names; found {names}")
    if share is not None:
        tasks = [(share.of_task(task), bundle_id) for task, bundle_id in tasks]
    keepers = open_keepers([task for task, _ in tasks], settings, share)
    started = {
        task.name: _start(task, bundle_id, settings, keepers[task.name], load)
        for task, bundle_id in tasks
    }
    file = SqliteLedger(
        ledger_path or tasks[0][0].work_dir / LEDGER_FILE,
        keep_days=settings.ledger_keep_days or None,
        ships=settings.database_url is not None,
    )
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = Metrics(registry)
    ledger = shipped(file, settings, metrics, [task for task, _ in tasks])
    ring, specs = None, read_keys() if read_keys else ()
    purser = open_purser(keepers[names[0]].store, file.path)
    if read_keys is not None:
        own = specs if share is None else share.of_keys(specs)
        ring = KeyRing(own, days=DaysOfKeys(purser, file.path, time.time()))
        ledger = SpendingLedger(ledger, ring)
    text_hash = open_text_hash(file.path.parent)
    served = {
        task.name: _serve_one(
            task,
            started[task.name][1],
            ledger,
            metrics,
            settings,
            text_hash,
            purser,
            keepers[task.name],
        )
        for task, _ in tasks
    }
    return Service(
        served,
        ledger,
        metrics,
        settings,
        feedback=SqliteFeedback(file.path),
        keys=ring,
        read_keys=read_keys,
        share=share,
        keepers=keepers,
        specs=specs,
        bases={name: base for name, (base, _) in started.items()},
        senders=[
            Sender(keepers[task.name].store, Webhook(task, section), keepers[task.name].instance)
            for task, _ in tasks
            for section in task.webhooks
        ],
        purser=purser,
    )


def open_keepers(
    tasks: Sequence[Task], settings: Settings, share: Share | None = None
) -> dict[str, Keeper]:
    """Return each task's link to what all workers share: a file in its work_dir, or the database.

    Raises:
        BadDatabase: the database's address is wrong or its library is missing.
    """
    index, url = share.index if share else 0, settings.database_url
    keep_days = settings.ledger_keep_days or None
    # A database may be away when a router starts, a file must not be.
    memory = None if url is None else Memory(tasks[0].work_dir)
    stores = stores_of(tasks, None if url is None else url.get_secret_value())
    keepers = {
        store: Keeper(store, index, memory=memory, keep_days=keep_days)
        for store in dict.fromkeys(stores.values())
    }
    return {name: keepers[store] for name, store in stores.items()}


def _start(
    task: Task, bundle_id: str | None, settings: Settings, keeper: Keeper, load: LoadStudent
) -> tuple[str, Model]:
    """Return the bundle that this router is started with, and the model that is to answer.

    Another one where operators had those answer who were started with the same.
    """
    base = obtain(task.work_dir, bundle_id, settings.bundle_store).id
    keeper.exchange()
    wish = (keeper.wishes or {}).get((task.name, SERVING))
    if wish is not None and base in wish.bases:
        bundle = Serving.parse(wish.value).bundle
        try:
            return base, load_model(task, bundle, settings, keeper, load)
        except (BadSettings, BadBundle) as fault:
            log.error("task %s starts with bundle %s: %s", task.name, base, fault)
    return base, load_model(task, base, settings, keeper, load)


async def check_teachers(tasks: Sequence[Task], *, strict: bool) -> None:
    """Prove each teacher's contract; without `strict` a fault is only logged.

    Raises:
        BadSettings: one fails and `strict` is set.
    """
    for task in tasks:
        if task.teacher.max_usd_per_hour == 0:
            continue  # not even a question to try it
        teacher = make_teacher(task)
        try:
            async with asyncio.timeout(CHECK_S):
                await teacher.check()
        except (TeacherError, TimeoutError) as error:
            fault = str(error) or f"no answer within {CHECK_S:g} s"
            if strict:
                raise BadSettings(f"task {task.name}: {fault}") from None
            log.warning("task %s starts without its teacher: %s", task.name, fault)
        finally:
            await teacher.aclose()


def _serve_one(
    task: Task,
    model: Model,
    ledger: Ledger,
    metrics: Metrics,
    settings: Settings,
    text_hash: TextHash,
    purser: Purser,
    keeper: Keeper,
) -> Served:
    teacher_price = price_of(task.teacher.price)
    slot = ModelSlot(model)
    guard = EscalationGuard(
        make_teacher(task),
        max_concurrency=task.teacher.max_concurrency,
        timeout_s=task.teacher.timeout_s,
        hedge=task.teacher.hedge,
        keyed=task.teacher.idempotency_header is not None,
        observe=metrics.attempts_of(task.name),
        answered_as=AnsweredAs(_renamed(task.name, slot, keeper)),
    )
    pipeline = Pipeline(
        task,
        slot,
        guard,
        ledger,
        metrics,
        student_usd=usd_per_answer(price_of(task.student.price)),
        teacher_price=teacher_price,
        budget=budget_of(task, purser),
        auditor=auditor_of(task, purser),
        text_hash=text_hash,
        texts=_texts_of(task),
    )
    passthrough = None
    if task.teacher.passed_on:
        _check_prices(task, pipeline.booking.prices)
        passthrough = Passthrough(
            task.teacher,
            pipeline,
            time.monotonic,
            first_byte_s=settings.passthrough_first_byte_s,
            pause_s=settings.passthrough_pause_s,
        )
    end = end_of(task, teacher_price)
    return Served(
        task,
        pipeline,
        passthrough,
        _teacher_check(task, pipeline, keeper),
        RetirementWatch(task.name, end, keeper, lambda: slot.current.bundle) if end else None,
    )


def _teacher_check(task: Task, pipeline: Pipeline, keeper: Keeper) -> TeacherCheck | None:
    section = task.teacher_check
    if section is None or task.teacher.max_usd_per_hour == 0:
        return None
    return TeacherCheck(task, section, pipeline, keeper)


def _renamed(task: str, slot: ModelSlot, keeper: Keeper) -> Callable[[str, str], None]:
    def renamed(model: str, before: str) -> None:
        log.warning("the teacher of task %s answers as %r, before as %r", task, model, before)
        keeper.say(
            Event(
                at=time.time(), task=task, bundle=slot.current.bundle, kind="teacher_model",
                reason="another name", actor=keeper.instance,
                figures={"model": model, "before": before},
            )
        )  # fmt: skip

    return renamed


def _check_prices(task: Task, prices: TeacherPrices) -> None:
    """Refuse a cap in dollars on calls of which nobody knows the dollars.

    Raises:
        BadSettings: naming the models.
    """
    if task.teacher.max_usd_per_hour is None:
        return
    unpriced = sorted(model for model in task.teacher.passed_on if not prices.knows(model))
    if unpriced:
        raise BadSettings(
            f"task {task.name}: teacher.max_usd_per_hour cannot hold for {', '.join(unpriced)} of "
            "teacher.passthrough: no price is known; give teacher.price by name (model: "
            "provider:model) or leave them out"
        )


def _texts_of(task: Task) -> TextKeeping | None:
    section = task.store_texts
    if section is None:
        return None
    cipher = open_cipher(section, task.work_dir)
    log.warning("task %s keeps texts for %g days: %s", task.name, section.keep_days, section.basis)
    writer = TextWriter(task.work_dir / TEXTS_FILE, cipher, section)
    return TextKeeping(writer, section.inputs_rate)


def usd_per_answer(price: Price) -> Decimal:
    """Return what one answer of the student costs, whichever text it was.

    Raises:
        BadSettings: the price is one per token: a student is a machine.
    """
    if not isinstance(price, MachinePrice):
        raise BadSettings(
            f"student.price is {price.words}; a student runs on a machine: give machine or "
            "usd_per_hour, with requests_per_second"
        )
    return price.cost(TokenUsage(), now()).usd
