"""THE STORY of one distillation: train → calibrate → certify → evaluate → profile → bundle.

Everything after training is measured on the files of the draft bundle, loaded and run as the
router will: what is certified is what is served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from costmodel.money.pricing import now
from students.certificate import NoCertificate
from students.certify.calibration import fit_temperature, ranking_kind
from students.certify.evaluation import evaluate
from students.certify.scoring import share
from students.confidence import Kind, softmax
from students.distill.answers import PartsAnswered, answer
from students.distill.promise import certify_draft, usual_traffic
from students.distill.students import Trained, train_student
from students.errors import BadInputs
from students.label.labelled import MOST_UNUSABLE, LabelledSet
from students.label.record import LabellingRecord
from students.label.split import LEARNT, unlike
from students.runtime.bundle import Bundle, LabellingBill, Manifest, draft, hash_files, publish
from students.runtime.load import load_student
from students.runtime.probes import probe
from students.runtime.seen import SeenNgrams
from students.task import Task
from students.teachers.protocol import TeacherDescriptor
from students.train.profiling import profile_student

Float32 = npt.NDArray[np.float32]
Report = Callable[[str, int, int], None]
"""Called with what is being done, how much is done and how much there is."""
Parts = Mapping[str, LabelledSet]
"""The rows of each split: all that a distillation holds of the labels, as they may be many."""

STAGES = ("train", "calibrate", "certify", "evaluate", "profile", "write")
NEEDED = (*LEARNT, "calibration", "test")
PROFILED_TEXTS = 1024


@dataclass(frozen=True)
class Distilled:
    """A bundle, and why it carries no certificate if it carries none.

    `outlook` says what more inputs would do where its certificate keeps next to nothing.
    """

    bundle: Bundle
    refusal: NoCertificate | None = None
    outlook: NoCertificate | None = None


def distill(
    task: Task,
    part: Parts,
    *,
    teacher: TeacherDescriptor,
    labelling: LabellingBill | None = None,
    report: Report = lambda stage, done, total: None,
    clock: Callable[[], datetime] = now,
) -> Distilled:
    """Make a student of the teacher's labels, prove what can be proved and write the bundle.

    Args:
        task: labels, promise, student and work_dir.
        part: the teacher's soft labels by split, from `take_parts`.
        teacher: who labelled them.
        labelling: what that cost.
        report: progress.
        clock: for dates.
    """
    start = time.perf_counter()
    trained = train_student(
        part["train"],
        part["validation"],
        task.student,
        lambda n, of: report("train", n, of),
        task.work_dir / "checkpoints",
    )
    with draft(task.work_dir / "bundles") as folder:
        trained.save(folder)
        if trained.family != "linear":  # whose own table says what it has seen
            SeenNgrams.of(part["train"].texts).save(folder)
        trained = _gated(task, trained, folder, part)
        manifest = _describe(task, trained, folder, teacher, labelling, clock)
        logits = _logits(Bundle(folder, manifest), part["temperature"])
        manifest = manifest.model_copy(
            update={
                "training_s": time.perf_counter() - start,
                "confidence": _kind(task, trained, logits, part),
            }
        )
        return prove(task, manifest, folder, part, report, clock, logits)


def _gated(task: Task, trained: Trained, folder: Path, part: Parts) -> Trained:
    """Put the out-of-scope gate beside the student, where the task asks for one."""
    if task.student.in_scope is None:
        return trained
    from students.train.scope import fit_scope

    gate = fit_scope(
        part["train"].texts, part["temperature"].texts, task.student.in_scope, task.student.seed
    )
    gate.save(folder)
    return replace(trained, config={**trained.config, **gate.config()})


def bill_of(record: LabellingRecord) -> LabellingBill:
    """What a bundle says of the labels it was made from."""
    return LabellingBill(
        n=record.n,
        usd=record.usd,
        price=record.price,
        self_agreement_n=record.self_agreement.n,
        self_agreement_agreed=record.self_agreement.agreed,
        labels_sha256=record.labels_sha256,
        rows=record.rows,
        sampling=record.sampling,
    )


def prove(
    task: Task,
    manifest: Manifest,
    folder: Path,
    part: Parts,
    report: Report = lambda stage, done, total: None,
    clock: Callable[[], datetime] = now,
    logits: Float32 | None = None,
) -> Distilled:
    """Calibrate, certify, evaluate and profile the files in a draft folder, and publish them.

    `logits` (N, K) are those of the temperature rows at T = 1, where they were said already.
    """
    report("calibrate", 0, 1)
    held_out = part["temperature"]
    if logits is None:
        logits = _logits(Bundle(folder, manifest), held_out)
    temperature = fit_temperature(logits, held_out.probabilities)
    manifest = manifest.model_copy(update={"temperature": temperature})
    student = load_student(Bundle(folder, manifest))
    report("certify", 0, 1)
    said = PartsAnswered(student, part)
    certificate, outlook = certify_draft(task, manifest, said, clock)
    manifest = manifest.model_copy(update={"certificate": certificate})
    manifest = manifest.model_copy(update=usual_traffic(manifest, said))
    report("evaluate", 0, 1)
    bill = manifest.labelling
    known = {text for name in LEARNT for text in part[name].texts}
    test = said["test"]
    evaluation = evaluate(
        test.probabilities,
        part["test"],
        manifest.thresholds,
        manifest.confidence,
        task.promise,
        unlike=unlike(part["test"].texts, known),
        outside=np.isnan(test.confidence),
        self_agreement=share(bill.self_agreement_agreed, bill.self_agreement_n)
        if bill and bill.self_agreement_n
        else None,
    )
    report("profile", 0, 1)
    texts = part["test"].texts[:PROFILED_TEXTS]
    profile = profile_student(student, texts, evaluation.risk_coverage)
    report("write", 0, 1)
    update = {"evaluation": evaluation, "profile": profile, "probes": probe(student)}
    bundle = publish(folder, manifest.model_copy(update=update))
    report("write", 1, 1)
    return Distilled(bundle, None, outlook) if certificate else Distilled(bundle, outlook)


def take_parts(
    task: Task, labelled: LabelledSet, splits: Mapping[str, npt.NDArray[np.int64]]
) -> dict[str, LabelledSet]:
    """Return the rows of each split.

    What judges keeps its unusable answers, since traffic has them, too; nothing is learnt from one.

    Raises:
        BadInputs: a split has no rows, too many answers are unusable, or the labels are not those
            of the task.
    """
    if labelled.schema.names != task.schema_.names:
        raise BadInputs(
            f"the labels were made for {', '.join(labelled.schema.names[:5])}, the task has "
            f"{', '.join(task.schema_.names[:5])}; run `raisehand label` for this task"
        )
    unusable = int((~labelled.usable).sum())
    if unusable > MOST_UNUSABLE * len(labelled):
        raise BadInputs(
            f"{unusable:,} of {len(labelled):,} answers of the teacher mean no label, more than "
            f"{MOST_UNUSABLE:.0%}: a student of the others would not know this traffic; `raisehand "
            "label` says what the teacher answers instead: change the prompt and label again"
        )
    rows = {name: splits.get(name, np.empty(0, np.int64)) for name in NEEDED}
    rows |= {name: rows[name][labelled.usable[rows[name]]] for name in LEARNT}
    for name in NEEDED:
        if len(rows[name]) == 0:
            raise BadInputs(
                f"no labelled row is in the split {name!r}, and a student needs all of "
                f"{', '.join(NEEDED)}; label more inputs, or correct the column inputs.split"
            )
    return {name: labelled.take(rows[name]) for name in NEEDED}


def _describe(
    task: Task,
    trained: Trained,
    folder: Path,
    teacher: TeacherDescriptor,
    labelling: LabellingBill | None,
    clock: Callable[[], datetime],
) -> Manifest:
    return Manifest(
        task=task.name,
        labels=task.schema_.names,
        descriptions=task.schema_.descriptions,
        family=trained.family,
        config=trained.config,
        temperature=1.0,
        confidence="max_probability",
        files=hash_files(folder),
        teacher=teacher,
        labelling=labelling,
        trials=trained.trials,
        versions={
            name: metadata.version(name) for name in ("raisehand", "torch", "numpy", *trained.uses)
        },
        created=clock().isoformat(timespec="seconds"),
    )


def _kind(task: Task, trained: Trained, logits: Float32, part: Parts) -> Kind:
    """Choose how confidence is scored, where the task names no kind.

    On the temperature rows, and on the validation rows as the student said them before it learnt
    them: together they are more, and no threshold sees them.
    """
    if task.student.confidence is not None:
        return task.student.confidence
    both = (
        (logits, part["temperature"]),
        (trained.held_out, part["validation"]),
    )
    said = [softmax(z, fit_temperature(z, rows.probabilities)) for z, rows in both]
    return ranking_kind(np.concatenate(said), np.concatenate([rows.teacher for _, rows in both]))


def _logits(drafted: Bundle, rows: LabelledSet) -> Float32:
    """Log probabilities (N, K) at T = 1, also of what was calibrated before it was exported.

    They are logits up to a constant per row.
    """
    plain = drafted.manifest.model_copy(update={"temperature": 1.0})
    raw = answer(load_student(Bundle(drafted.path, plain)), rows.texts).probabilities
    return np.log(np.maximum(raw, np.finfo(np.float32).tiny))
