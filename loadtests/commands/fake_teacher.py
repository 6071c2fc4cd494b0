"""`raisehand fake-teacher`: a teacher that costs nothing, for demos, drills and tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from pydantic import ValidationError

from costmodel.faults import every_fault
from costmodel.lifeline import end_when_orphaned
from loadtests.errors import BadLoadSpec, BadRows
from loadtests.inputs.rows import AnswersFile, read_answers
from loadtests.inputs.taskfile import read_task
from loadtests.servers.asgi import serve
from loadtests.servers.fake_teacher import FakeTeacher
from loadtests.servers.knobs import Knobs
from loadtests.servers.recorded import read_recorded


@click.command(
    epilog="Example: raisehand fake-teacher --task task.yaml --references messages.csv --port 8000"
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8001, show_default=True)
@click.option(
    "--task",
    "task_path",
    type=click.Path(path_type=Path),
    help="Task file: its answer words, model and prompt, instead of --label and --model.",
)
@click.option("--label", "labels", multiple=True, help="A label; repeat it.")
@click.option("--model", default="fake-teacher", show_default=True)
@click.option("--references", type=click.Path(path_type=Path), help="A table or labels.npz.")
@click.option("--text", default="text", show_default=True, help="Column of the texts.")
@click.option("--answer", default="label", show_default=True, help="Column of the answers.")
@click.option("--means", multiple=True, help="A label as the table calls it; default: as it is.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the table.")
@click.option("--delimiter", help="Of a .csv; default: found in its header.")
@click.option("--api-key", help="Ask for this bearer key.")
@click.option("--set", "settings", multiple=True, help="A knob as name=JSON, e.g. latency_ms=80.")
def main(
    host: str,
    port: int,
    task_path: Path | None,
    labels: tuple[str, ...],
    model: str,
    references: Path | None,
    text: str,
    answer: str,
    means: tuple[str, ...],
    encoding: str,
    delimiter: str | None,
    api_key: str | None,
    settings: tuple[str, ...],
) -> None:
    """Serve a teacher whose answers, latency and faults are known: it costs nothing.

    It speaks vLLM's /classify and OpenAI's chat completions. The README starts with it; load tests
    and fault drills turn its knobs while it runs.
    """
    end_when_orphaned()
    try:
        if task_path is not None:
            task = read_task(task_path)
            labels, model = task.words, task.teacher.model
            settings = (f"user={task.teacher.prompt.get('user', '{text}')}", *settings)
        if not labels:
            raise click.UsageError("give --task FILE, or each label as --label NAME")
        known: Mapping[str, str] = {}
        if references is not None and references.suffix == ".npz":
            known = read_recorded(references, labels)
        elif references is not None:
            source = AnswersFile(references, text, answer, encoding, delimiter)
            known = read_answers(source, means or labels, labels)
        chosen = {name: _value(value) for name, _, value in (s.partition("=") for s in settings)}
        knobs = Knobs.model_validate({"labels": labels, **chosen})
    except ValidationError as error:
        raise click.ClickException(every_fault(error)) from None
    except (BadRows, BadLoadSpec) as error:
        raise click.ClickException(str(error)) from None
    serve(FakeTeacher(knobs, known, model=model, api_key=api_key), host, port)


def _value(written: str) -> Any:
    try:
        return msgspec.json.decode(written.encode())
    except msgspec.DecodeError:
        return written


if __name__ == "__main__":
    main()
