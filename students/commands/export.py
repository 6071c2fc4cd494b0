"""`raisehand export`: an encoder student for another runtime, certified anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.extras import require
from students.commands.distill import finish
from students.commands.evaluate import check_test_rows

if TYPE_CHECKING:
    from students.distill.run import Distilled
    from students.task import Task


@click.command(epilog="Example: raisehand export --task task.yaml --to int8")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option(
    "--bundle", "bundle_id", help="Id of an encoder bundle, or its beginning; default newest."
)
@click.option(
    "--to", "target", type=click.Choice(["int8", "onnx"]), default="int8", show_default=True,
    help="int8: OpenVINO, static post-training quantisation. onnx: float32, for ONNX Runtime.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export(task_path: Path, bundle_id: str | None, target: str, as_json: bool) -> None:
    """Turn an encoder student into another runtime's files and prove those.

    Another runtime changes scores, so the exported student is calibrated, certified and evaluated
    anew and becomes a bundle of its own. That is another look at the calibration rows: it spends
    delta.
    """
    from students.task import load_task

    require("encoder", "train", "export", target)
    task = load_task(task_path)
    finish(task, _export(task, bundle_id, target), as_json)


def _export(task: Task, bundle_id: str | None, target: str) -> Distilled:
    from rich.console import Console

    from students.distill.export import exported
    from students.distill.run import take_parts
    from students.label.record import load_labels
    from students.runtime.bundle import find_bundle

    bundle = find_bundle(task.work_dir, bundle_id)
    labelled, record = load_labels(task.work_dir)
    splits = record.split_rows()
    check_test_rows(bundle, labelled, splits["test"].tolist())
    part = take_parts(task, labelled, splits)
    with Console(stderr=True).status("export") as status:
        return exported(task, bundle, part, target, lambda stage, *_: status.update(stage))
