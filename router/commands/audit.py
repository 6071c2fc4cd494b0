"""`raisehand audit`: what shadow audits say of each bundle's certificate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from router.promise.monitor import Evidence
    from router.shared.store import Store


@click.command(epilog="Example: raisehand audit --task task.yaml")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def audit(task_path: Path, as_json: bool) -> None:
    """Show the evidence for and against each bundle, of all workers' audits together.

    With RAISEHAND_DATABASE_URL of all hosts. A router that runs is at most a second ahead.
    """
    from router.settings import load_settings
    from router.shared.opening import open_store
    from students.task import load_task

    task = load_task(task_path)
    url = load_settings().database_url
    store = open_store(task.work_dir, None if url is None else url.get_secret_value())
    found = _read(store, task.name)
    if as_json:
        click.echo(json.dumps({name: _fields(e) for name, e in found.items()}, indent=1))
    elif not found:
        click.echo(f"No audits in {task.work_dir} yet; `raisehand serve` draws them at audit_rate.")
    else:
        click.echo(_table(found))


def _read(store: Store, task: str) -> dict[str, Evidence]:
    from router.errors import BadSettings
    from router.promise.monitor import Evidence
    from router.shared.records import StoreAway
    from router.shared.sqlite_store import SqliteStore

    if isinstance(store, SqliteStore) and not store.path.exists():
        return {}  # who only looks makes no file
    try:
        evidence = store.evidence(task)
    except StoreAway as away:
        raise BadSettings(f"{away}; restore it, or distil a bundle on fresh labels") from None
    finally:
        store.close()
    return {bundle: Evidence.model_validate_json(text) for bundle, text in evidence.items()}


def _fields(evidence: Evidence) -> dict[str, object]:
    from router.promise.monitor import Monitor

    state, interval = Monitor.resume(evidence).state, _interval(evidence)
    return {
        "status": state.status.value,
        "audits": state.audits,
        "disagreements": state.disagreements,
        "disagreement": state.disagreement,
        "low": interval[0],
        "high": interval[1],
        "allowed": evidence.alpha,
        "e_value": state.e_value,
        "alarm_at": 1.0 / evidence.false_alarm,
    }


def _interval(evidence: Evidence) -> tuple[float, float]:
    """95 % interval of the audited disagreement so far, however often one looks."""
    from costmodel.intervals import confidence_sequence

    return confidence_sequence(evidence.disagreements, evidence.audits)


def _table(found: dict[str, Evidence]) -> str:
    from router.promise.monitor import Monitor

    width = max(map(len, found)) + 2
    lines = [f"{'bundle':<{width}}{'status':<10}{'audits':>9}  disagreement [95 %, at any time]"]
    for name, evidence in found.items():
        state, (low, high) = Monitor.resume(evidence).state, _interval(evidence)
        rate = "none yet" if state.disagreement is None else f"{state.disagreement:.2%}"
        lines.append(
            f"{name:<{width}}{state.status:<10}{state.audits:>9,}  {rate} [{low:.2%}, {high:.2%}], "
            f"at most {evidence.alpha:.2%}; e = {state.e_value:.3g}, "
            f"alarm at {1 / evidence.false_alarm:g}"
        )
    if any(evidence.alarmed for evidence in found.values()):
        lines.append(
            "In alarm: everything escalates. Label fresh inputs and run `raisehand distill`."
        )
    return "\n".join(lines)
