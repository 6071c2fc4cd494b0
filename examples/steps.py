"""What the examples have in common: run the product's own commands, and make a stand-in teacher."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]

console = Console(stderr=True)


def raisehand(*arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
    """Run one command of the product, visibly.

    Raises:
        subprocess.CalledProcessError: it ended with another exit code than those allowed.
    """
    say(arguments)
    done = subprocess.run([Path(sys.executable).parent / "raisehand", *arguments])
    if done.returncode not in allowed:
        raise subprocess.CalledProcessError(done.returncode, done.args)


def say(arguments: Sequence[str]) -> None:
    """Show a command as a user would type it."""
    console.print(f"\n[bold]$ raisehand {shlex.join(arguments)}", highlight=False)


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(*parts: object) -> str:
    """Return a short name for content: equal parts, equal name."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def fine_tune_once(
    minilm: Path,
    texts: Sequence[str],
    gold: Sequence[str],
    labels: Sequence[str],
    cache: Path,
    *,
    epochs: int,
    lr: float = 5e-5,
    max_length: int = 64,
) -> Path:
    """Return a stand-in teacher: MiniLM fine-tuned on gold, kept under what it was made from."""
    key = digest(
        [list(texts), list(gold), epochs, lr, max_length],
        sha256(minilm / "model.safetensors"),
        *(sha256(ROOT / "students/train" / name) for name in ("finetune.py", "training.py")),
    )
    folder = cache / f"teacher-{key}"
    if folder.exists():
        return folder
    import numpy as np

    from students.commands.bars import Bars
    from students.train.finetune import finetune_classifier

    console.print(
        f"Fine-tuning MiniLM (22.7 M parameters) on {len(texts):,} gold rows: the stand-in "
        "teacher. It is an encoder, not an LLM."
    )
    column = {label: k for k, label in enumerate(labels)}
    targets = np.eye(len(labels), dtype=np.float32)[[column[label] for label in gold]]
    with Bars(console=console) as progress:
        bar = progress.add_task("fine-tune teacher", total=None)
        return finetune_classifier(
            minilm,
            texts,
            targets,
            folder,
            labels=labels,
            epochs=epochs,
            lr=lr,
            max_length=max_length,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
