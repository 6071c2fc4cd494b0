"""`raisehand suspects`: answers that somebody should look at, and what they said of them."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

import click

from students.errors import BadTask
from students.texts.cipher import open_cipher

TIMEOUT_S = 30.0


@click.command(epilog="Example: raisehand suspects --task task.yaml --out suspects.csv")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; default: stdout.")
@click.option("--limit", default=500, show_default=True, type=click.IntRange(1))
@click.option(
    "--filled",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The file with its column gold filled in: send it as a reviewer's feedback.",
)
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Of the router.")
@click.option("--key-env", help="Variable that holds the API key of a reviewer.")
def suspects(
    task_path: Path,
    out: Path | None,
    limit: int,
    filled: Path | None,
    url: str,
    key_env: str | None,
) -> None:
    """List audited answers on which a sure student and the teacher differ, the surest first.

    They are often the teacher's errors. The file has texts in it: it is yours to delete.
    """
    from students.distill.suspects import read_gold, write_suspects
    from students.distill.suspects import suspects as find
    from students.task import load_task
    from students.texts.shelf import open_shelf

    task = load_task(task_path)
    if filled is not None:
        with filled.open(encoding="utf-8-sig", newline="") as file:
            verdicts = read_gold(file)
        for request_id, gold in verdicts:
            _send(url, key_env, {"id": request_id, "gold": gold, "model": task.name})
        click.echo(f"{len(verdicts):,} verdicts sent.")
        return
    if task.store_texts is None:
        raise BadTask(f"{task_path} has no store_texts: no text is kept that could be looked at")
    cipher = open_cipher(task.store_texts, task.work_dir)
    names = task.schema_.names
    rows = find(open_shelf(task).read(cipher, task.name), names)[:limit]
    if out is None:
        write_suspects(sys.stdout, rows, names)
        return
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # its owner's only
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        n = write_suspects(file, rows, names)
    click.echo(f"{n:,} suspects in {out}; fill in gold, then --filled {out}.")


def _send(url: str, key_env: str | None, verdict: dict[str, str]) -> None:
    headers = {"content-type": "application/json"}
    if key_env is not None:
        headers["authorization"] = f"Bearer {os.environ.get(key_env, '')}"
    body = json.dumps(verdict | {"source": "reviewer"}).encode()
    request = urllib.request.Request(f"{url}/v1/feedback", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        raise BadTask(f"{url} refused {verdict['id']}: {error.read().decode()[:300]}") from None
    except OSError as error:
        raise BadTask(f"{url} cannot be reached ({error}); those before were sent") from None
