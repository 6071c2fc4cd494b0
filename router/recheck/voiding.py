"""What follows from another teacher: no bundle that was certified against the old one answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict

from router.promise.same_teacher import CHANGED
from router.promise.watch import judge_of, voided
from router.shared.records import Figure
from router.shared.store import Store
from students.runtime.bundle import MANIFEST, Bundle, read_bundle
from students.task import Task
from students.teachers.protocol import TeacherDescriptor


def void_certificates(
    store: Store,
    instance: str,
    task: Task,
    teacher: TeacherDescriptor,
    figures: Mapping[str, Figure],
    known: Collection[str] = (),
) -> list[str]:
    """Void each certificate of this work_dir that rests on the teacher; return the bundles.

    One that is void already stays so, without another event.

    Args:
        store: of all processes.
        instance: who does it.
        task: whose bundles.
        teacher: that they were certified against.
        figures: what shows that it is another one now.
        known: bundles that need not be looked at again.

    Raises:
        StoreAway: some may not be void.
    """
    found = []
    for bundle in _certified(task, teacher, known):
        store.amend(
            instance, task.name, bundle.id, judge_of(bundle.manifest), voided(CHANGED, figures)
        )
        found.append(bundle.id)
    return found


def _certified(task: Task, teacher: TeacherDescriptor, known: Collection[str]) -> Iterator[Bundle]:
    for path in sorted((task.work_dir / "bundles").glob(f"*/{MANIFEST}")):
        if path.parent.name in known:
            continue
        bundle = read_bundle(path.parent)
        manifest = bundle.manifest
        if manifest.certificate and asdict(manifest.teacher) == asdict(teacher):
            yield bundle
