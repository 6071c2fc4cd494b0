"""`raisehand teacher`: a local classifier as a teacher behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from costmodel.extras import require
from costmodel.lifeline import end_when_orphaned


@click.command(epilog="Example: raisehand teacher --model models/minilm-urgent --port 9101")
@click.option(
    "--model",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Local Hugging Face folder of a sequence classifier; nothing is downloaded.",
)
@click.option("--name", help="Model name that requests must use; default the folder's name.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9101, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--task",
    "task_path",
    type=click.Path(path_type=Path),
    help="Task file: its prompt and answer words open /v1/chat/completions too.",
)
@click.option("--device", default="cpu", show_default=True, help="Where torch computes: cpu, cuda.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 is faster where the processor knows it; probabilities move in the third digit.",
)
@click.option(
    "--max-length", default=512, show_default=True, type=click.IntRange(8), help="Tokens."
)
def teacher(
    folder: Path,
    name: str | None,
    host: str,
    port: int,
    task_path: Path | None,
    device: str,
    dtype: Literal["float32", "bfloat16"],
    max_length: int,
) -> None:
    """Serve a local classifier with vLLM's /classify contract, in this process.

    Routes: /classify, /v1/models, /health, and with --task /v1/chat/completions (logprobs,
    streaming) for prompts that match the task's own.
    """
    import uvicorn

    from students.task import load_task
    from students.teachers.owned.app import create_app
    from students.teachers.owned.classifier import LocalClassifier

    require("encoder")
    end_when_orphaned()
    task = load_task(task_path) if task_path else None
    app = create_app(
        LocalClassifier(folder, device=device, max_length=max_length, dtype=dtype),
        name or folder.resolve().name,
        task,
    )
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
