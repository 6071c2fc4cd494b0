"""`raisehand bundle`: bundles at a place that all hosts reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from students.runtime.store import BundleStore, StoredBundle

_task = click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
_store = click.option(
    "--store",
    "url",
    required=True,
    envvar="RAISEHAND_BUNDLE_STORE",
    show_envvar=True,
    help="A folder, s3://bucket/prefix, gs://…, az://…, or whatever else fsspec reads.",
)


@click.group(epilog="Example: raisehand bundle push --store s3://models/tickets")
def bundle() -> None:
    """Share bundles by content: what is pulled is byte for byte what was pushed, or refused.

    A router with RAISEHAND_BUNDLE_STORE fetches the --bundle that it does not have.
    """


@bundle.command()
@click.argument("bundle_id", metavar="ID", required=False)
@_task
@_store
def push(bundle_id: str | None, task_path: Path, url: str) -> None:
    """Store a bundle (its id, or the beginning of it); default: the newest."""
    from students.runtime.bundle import find_bundle
    from students.task import load_task

    found = find_bundle(load_task(task_path).work_dir, bundle_id)
    new = _open(url).push(found)
    click.echo(found.id)
    click.echo(f"{'Pushed' if new else 'Already there'}: sha256 {found.digest}", err=True)


@bundle.command()
@click.argument("bundle_id", metavar="ID")
@_task
@_store
def pull(bundle_id: str, task_path: Path, url: str) -> None:
    """Fetch a bundle by its id, the beginning of it, or its whole sha256, and verify every file.

    It becomes the latest only where there was none: serve it by --bundle.
    """
    from students.runtime.bundle import LATEST, name_latest
    from students.task import load_task

    work_dir = load_task(task_path).work_dir
    found = _open(url).pull(bundle_id, work_dir)
    if not (found.path.parent / LATEST).exists():
        name_latest(found.path.parent, found.id)
    click.echo(found.id)


@bundle.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_store
def list_(as_json: bool, url: str) -> None:
    """Show what is in the store, the newest first."""
    stored = _open(url).bundles()
    if as_json:
        click.echo(json.dumps([_fields(one) for one in stored], indent=2))
        return
    for one in stored:
        about = one.manifest
        promise = (
            f"agreement {about.certificate.agreement:g}" if about.certificate else "no promise"
        )
        click.echo(f"{one.id}  {about.created}  {about.task:<24}{about.family:<14}{promise}")


def _fields(one: StoredBundle) -> dict[str, object]:
    about = one.manifest
    return {
        "id": one.id,
        "sha256": one.digest,
        "task": about.task,
        "family": about.family,
        "created": about.created,
        "certified": about.certificate is not None,
    }


def _open(url: str) -> BundleStore:
    from students.runtime.store import BundleStore

    return BundleStore(url)
