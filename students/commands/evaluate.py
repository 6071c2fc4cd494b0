"""`raisehand evaluate`: measure a bundle on rows that nothing else ever used."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.extras import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from students.certificate import Certificate
    from students.evaluation import Evaluation
    from students.label.labelled import LabelledSet
    from students.runtime.bundle import Bundle
    from students.runtime.protocol import Student
    from students.task import Task

BATCH = 256


@click.command(epilog="Example: raisehand evaluate --task task.yaml --html report.html")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--bundle", "bundle_id", help="Id of the bundle, or its beginning; default newest.")
@click.option(
    "--labels",
    "labels_dir",
    type=click.Path(path_type=Path),
    help="Folder of labels.npz and labels.json; default the task's work_dir.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path), help="Also write a page with plots."
)
def evaluate(
    task_path: Path,
    bundle_id: str | None,
    labels_dir: Path | None,
    as_json: bool,
    html_path: Path | None,
) -> None:
    """Answer the test rows with the bundle itself and print what it is worth.

    Agreement with the teacher, accuracy against gold where there is gold, how well the confidence
    ranks, how good the probabilities are, and the certificate: every figure with its n.
    """
    from students.label.record import load_labels
    from students.label.split import LEARNT, unlike
    from students.runtime.bundle import find_bundle
    from students.runtime.load import load_student
    from students.task import load_task

    require("train")
    task = load_task(task_path)
    bundle = find_bundle(task.work_dir, bundle_id)
    labelled, record = load_labels(labels_dir or task.work_dir)
    splits = record.split_rows()
    test = check_test_rows(bundle, labelled, splits["test"].tolist())
    known = {labelled.texts[i] for name in LEARNT for i in splits[name]}
    agreement = record.self_agreement
    measured = measure(
        load_student(bundle),
        bundle,
        task,
        test,
        (agreement.agreed, agreement.n),
        unlike=unlike(test.texts, known),
    )
    certificate = bundle.manifest.certificate
    if html_path:
        _write(html_path, bundle, measured, certificate, test)
    if as_json:
        click.echo(_json(bundle, measured, certificate))
    else:
        _print(bundle, measured, certificate)


def check_test_rows(bundle: Bundle, labelled: LabelledSet, rows: list[int]) -> LabelledSet:
    """Return the test rows, provided that they surely are the ones this bundle never saw.

    Raises:
        BadInputs: the labels are not those that the bundle was made from.
    """
    import numpy as np

    from students.errors import BadInputs

    manifest = bundle.manifest
    made_from = manifest.labelling.labels_sha256 if manifest.labelling else ""
    if manifest.labels != labelled.schema.names or (made_from and made_from != labelled.sha256):
        raise BadInputs(
            f"bundle {bundle.id} was made from other labels than these, so their test rows may be "
            "rows it was trained on; name its labels with --labels, or run `raisehand distill`"
        )
    return labelled.take(np.array(rows, np.int64))


def measure(
    student: Student,
    bundle: Bundle,
    task: Task,
    test: LabelledSet,
    self_agreement: tuple[int, int] = (0, 0),
    *,
    unlike: npt.NDArray[np.bool_] | None = None,
) -> Evaluation:
    """Predict the test rows with the student as it serves, and measure at the certified thresholds.

    `self_agreement` is (agreed, n) of the teacher asked twice, `unlike` (N,) the rows whose text is
    unlike all that was learnt from. Without a certificate everything
    escalates, as in serving.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from students.certify.evaluation import evaluate as evaluate_rows
    from students.certify.scoring import share
    from students.sections import PromiseSection

    starts = track(
        range(0, len(test), BATCH),
        description="Answering test rows",
        console=Console(stderr=True),
        transient=True,
    )
    predictions = [p for i in starts for p in student.predict(test.texts[i : i + BATCH])]
    k = len(test.schema)
    probabilities = np.array([p.probabilities for p in predictions]).reshape(len(test), k)
    c = bundle.manifest.certificate
    promise = (
        PromiseSection(agreement=c.agreement, confidence=c.confidence, promise=c.promise)
        if c
        else task.promise
    )
    agreed, n = self_agreement
    return evaluate_rows(
        probabilities,
        test,
        bundle.manifest.thresholds,
        bundle.manifest.confidence,
        promise,
        unlike=unlike,
        outside=np.array([not p.in_scope for p in predictions], np.bool_),
        self_agreement=share(agreed, n) if n else None,
    )


def _json(bundle: Bundle, measured: Evaluation, certificate: Certificate | None) -> str:

    return json.dumps(
        {
            "task": bundle.manifest.task,
            "bundle": bundle.id,
            "certificate": certificate.model_dump(mode="json") if certificate else None,
            "statement": certificate.statement if certificate else None,
            "evaluation": measured.model_dump(mode="json"),
        },
        indent=1,
        ensure_ascii=False,
    )


def _write(
    path: Path,
    bundle: Bundle,
    measured: Evaluation,
    certificate: Certificate | None,
    test: LabelledSet,
) -> None:
    from students.errors import BadInputs
    from students.report import evaluation_page

    page = evaluation_page(bundle.manifest.task, bundle.id, measured, certificate, test.texts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.html(), encoding="utf-8")
    except OSError as error:
        raise BadInputs(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"Wrote {path}", err=True)


def _print(bundle: Bundle, measured: Evaluation, certificate: Certificate | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from students.metrics import metric_rows

    table = Table(
        title=f"{bundle.manifest.task}, bundle {bundle.id}, {measured.n:,} untouched test rows",
        title_justify="left",
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for block, rows in groupby(metric_rows(measured, certificate), key=lambda row: row[0]):
        for i, (_, metric, value) in enumerate(rows):
            table.add_row(block if i == 0 else "", metric, value)
        table.add_section()
    console = Console()
    console.print(table)
    if certificate:
        console.print(certificate.statement)
