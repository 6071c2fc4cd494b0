"""What a draft bundle can promise, and the traffic it knows: on rows that nothing was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import numpy as np

from students.certificate import Certificate, ClassPromise, NoCertificate
from students.certify.certify import Certified, certify, grid_from_scores
from students.certify.thresholds import rungs_of
from students.certify.uses import USES_FILE, row_ids, take_use
from students.distill.answers import PartsAnswered
from students.errors import NotCertifiable
from students.label.labelled import LabelledSet
from students.labels import NO_LABEL
from students.runtime.bundle import Manifest
from students.runtime.usual import Usual
from students.task import Task


def certify_draft(
    task: Task,
    manifest: Manifest,
    said: PartsAnswered,
    clock: Callable[[], datetime],
) -> tuple[Certificate | None, NoCertificate | None]:
    """Certify a draft on its calibration rows, one look taken; or say why not, and what helps."""
    part = said.part
    rows = part["calibration"]
    answers = [rows.schema.names[i] if i != NO_LABEL else "" for i in rows.teacher]
    looked_at = row_ids(rows.texts, answers)
    use = take_use(
        task.work_dir / USES_FILE, looked_at, manifest.artefact_sha256, task.promise, clock
    )
    unlabelled, judged = said["temperature"], said["calibration"]
    try:
        certified = certify(
            judged.confidence,
            judged.labels,
            rows.teacher,
            task.promise,
            labels=rows.schema.names,
            grid=grid_from_scores(unlabelled.confidence, unlabelled.labels),
            use=use,
        )
    except NotCertifiable as error:
        return None, _in_inputs(error.refusal, manifest, part)
    return (
        _certificate(certified, task, manifest, rows, use, clock),
        _in_inputs(certified.outlook, manifest, part),
    )


def _in_inputs(
    outlook: NoCertificate | None, manifest: Manifest, part: Mapping[str, LabelledSet]
) -> NoCertificate | None:
    """Say calibration rows in inputs to add, and in dollars at what one has cost so far."""
    if outlook is None:
        return None
    bill = manifest.labelling
    inputs = (bill.rows or bill.n) if bill else sum(len(one) for one in part.values())
    usd = bill.usd / inputs if bill else None
    return outlook.in_inputs(len(part["calibration"]) / inputs, usd)


def _certificate(
    certified: Certified,
    task: Task,
    manifest: Manifest,
    rows: LabelledSet,
    use: int,
    clock: Callable[[], datetime],
) -> Certificate:
    return Certificate(
        promise=task.promise.promise,
        agreement=task.promise.agreement,
        confidence=task.promise.confidence,
        thresholds=certified.thresholds,
        sampling=manifest.labelling.sampling if manifest.labelling else "rows",
        n_calibration=certified.n_calibration,
        n_unusable=int((~rows.usable).sum()),
        n_accepted=certified.n_accepted,
        disagreements=certified.disagreements,
        agreement_lower_bound=certified.agreement_lower_bound,
        coverage=certified.coverage,
        method=certified.method,
        teacher_model=manifest.teacher.model,
        teacher_revision=manifest.teacher.revision,
        teacher_mode=manifest.teacher.mode,
        artefact_sha256=manifest.artefact_sha256,
        calibration_sha256=rows.sha256,
        use=use,
        date=clock().date().isoformat(),
        per_class=tuple(
            ClassPromise(
                label=one.label,
                agreement=one.agreement,
                n=one.n,
                disagreements=one.disagreements,
                agreement_lower_bound=one.agreement_lower_bound,
            )
            for one in certified.per_class
        ),
    )


def usual_traffic(manifest: Manifest, said: PartsAnswered) -> dict[str, object]:
    """Fix the ladder and what is usual, on rows without labels that no threshold was placed on."""
    texts, unlabelled = said.part["temperature"].texts, said["temperature"]
    sure = unlabelled.confidence
    kept = sure >= np.array(manifest.thresholds)[unlabelled.labels]
    return {
        "rungs": rungs_of(sure[kept].tolist()),
        "usual": Usual.of(texts, sure, kept, getattr(said.student, "unknown_share", None)),
    }
