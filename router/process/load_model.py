"""A bundle as it answers: loaded, warmed up, certified for its task, and watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from router.errors import BadSettings
from router.promise.earlier import taking_over
from router.promise.hints import InputHints
from router.promise.watch import Watch, judge_of
from router.settings import Settings
from router.shared.keeper import Keeper
from router.shared.records import Event, StoreAway
from router.student.batcher import Batcher
from router.student.loaded import Model
from students.runtime.bundle import Bundle
from students.runtime.load import load_student
from students.runtime.protocol import Student
from students.runtime.seen import SeenNgrams
from students.runtime.store import obtain
from students.task import Task
from students.teachers import make_teacher

LoadStudent = Callable[[Bundle], Student]
"""From a verified bundle to its student, warmed up: in this process or in the engine."""


def load_model(
    task: Task,
    bundle_id: str | None,
    settings: Settings,
    keeper: Keeper,
    load: LoadStudent = load_student,
) -> Model:
    """Load a bundle of a task (warmed up by its loader) and check that it may serve it.

    Raises:
        BadBundle: it is missing or altered, or the store that may have it cannot be reached.
        BadSettings: it is not certified, or for other labels or another teacher, or what its audits
            have shown cannot be read.
    """
    bundle = obtain(task.work_dir, bundle_id, settings.bundle_store)
    check_fits(task, bundle)
    student = load(bundle)
    batcher = Batcher(
        student,
        max_queue=settings.max_queue,
        max_batch_texts=settings.max_batch_texts,
        max_batch_tokens=settings.max_batch_tokens,
    )
    watch = _watch(task, bundle, keeper, student)
    return Model(bundle.id, student, bundle.manifest.thresholds, batcher, watch)


def _watch(task: Task, bundle: Bundle, keeper: Keeper, student: Student) -> Watch:
    reopen = judge_of(bundle.manifest)
    watch = Watch(task.name, bundle.id, task.schema_.names, reopen, keeper.put)
    if bundle.manifest.usual is not None:
        unknown_share = _unknown_share(bundle, student)
        if unknown_share is not None:
            unknown_share("a first text is read at once: compiling what reads it takes a moment")
        told = _hinted(task.name, bundle.id, keeper)
        watch.hints = InputHints(bundle.manifest.usual, told, unknown_share)
    try:
        with taking_over(task.work_dir, bundle.id) as earlier:
            keeper.follow(watch, earlier)
    except StoreAway as away:
        raise BadSettings(f"{away}, so an alarm may be forgotten") from None
    return watch


def _unknown_share(bundle: Bundle, student: Student) -> Callable[[str], float] | None:
    """As the student says, else as its bundle does: one that answers in the engine cannot."""
    own: Callable[[str], float] | None = getattr(student, "unknown_share", None)
    if own is not None:
        return own
    seen = SeenNgrams.load(bundle.path)
    return None if seen is None else seen.unknown_share


def _hinted(
    task: str, bundle: str, keeper: Keeper
) -> Callable[[tuple[str, ...], Mapping[str, float]], None]:
    def changed(moved: tuple[str, ...], indices: Mapping[str, float]) -> None:
        reason = "moved: " + ", ".join(moved) if moved else "as usual"
        keeper.say(
            Event(
                at=time.time(), task=task, bundle=bundle, kind="hint", reason=reason,
                actor=keeper.instance, figures=indices,
            )
        )  # fmt: skip

    return changed


def check_fits(task: Task, bundle: Bundle) -> None:
    """Refuse a bundle that may not answer a task.

    Raises:
        BadSettings: it is not certified, or for other labels or another teacher.
    """
    manifest = bundle.manifest
    if manifest.labels != task.schema_.names:
        raise BadSettings(
            f"bundle {bundle.id} answers {_some(manifest.labels)}, task {task.name} has "
            f"{_some(task.schema_.names)}; distil again for these labels"
        )
    if manifest.certificate is None:
        raise BadSettings(
            f"bundle {bundle.id} has no certificate, so there is no threshold that keeps the "
            "promise; run `raisehand distill` with more labels or a lower promise"
        )
    certified, asked = asdict(manifest.teacher), asdict(make_teacher(task).descriptor)
    changed = [name for name in asked if certified[name] != asked[name]]
    if changed:
        differences = ", ".join(f"{n} {certified[n]!r} is now {asked[n]!r}" for n in changed)
        raise BadSettings(
            f"bundle {bundle.id} is certified against another teacher than the task's "
            f"({differences}); label and distil again, or restore the task file"
        )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
