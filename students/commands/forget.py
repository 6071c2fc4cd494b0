"""`raisehand forget`: delete what was kept of a text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from students.errors import BadTask
from students.texts.cipher import open_cipher
from students.texts.learnt import bundles_of


@click.command(epilog="Example: raisehand forget --task task.yaml --id 3f2a9c0d1e5b7788-1")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--id", "request_ids", multiple=True, help="A request's id; again for more.")
@click.option("--text", "texts", multiple=True, help="A text as it was sent; - reads stdin.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def forget(
    task_path: Path, request_ids: tuple[str, ...], texts: tuple[str, ...], as_json: bool
) -> None:
    """Delete kept texts, every copy of them, and name the students that learnt from them.

    With RAISEHAND_DATABASE_URL those of all hosts, also the ones that a host brings later.
    """
    from students.task import load_task
    from students.texts.shelf import open_shelf

    if not request_ids and not texts:
        raise BadTask("nothing is named to be forgotten; give --id or --text")
    task = load_task(task_path)
    if task.store_texts is None:
        raise BadTask(f"{task_path} has no store_texts, which says where the key is; add it again")
    shelf, cipher = open_shelf(task), open_cipher(task.store_texts, task.work_dir)
    given = [sys.stdin.read() if text == "-" else text for text in texts]
    recognised = [cipher.recognise(text) for text in given]
    recognised += shelf.recognised_of(task.name, request_ids)
    gone = shelf.forget(task.name, request_ids=request_ids, recognised=recognised)
    bundles = bundles_of(task.work_dir, recognised)
    if as_json:
        click.echo(json.dumps({"deleted": gone, "bundles": bundles}))
        return
    click.echo(f"{gone:,} kept texts deleted.")
    if bundles:
        click.echo(
            f"Bundles that learnt from them: {', '.join(bundles)}. They hold no text; distil again "
            "if they must not have learnt from it."
        )
