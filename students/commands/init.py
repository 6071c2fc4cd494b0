"""`raisehand init`: a folder to start from, with a task file and messages to try it on."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import click

from students.errors import StudentsError

TASK = Path(__file__).with_name("tickets.yaml")
WORDS = {
    "billing": ("invoice", "refund", "charged", "payment", "receipt", "price"),
    "technical": ("crash", "error", "login", "slow", "broken", "update"),
    "other": ("hello", "thanks", "question", "office", "hours", "feedback"),
}
"""What the made-up messages are about."""
MESSAGES = 2600
SEED = 7


@click.command(epilog="Example: raisehand init tickets; cd tickets; the README goes on from there.")
@click.argument("folder", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make FOLDER with task.yaml and 2,600 made-up support messages, to start from.

    Nothing that exists is overwritten. `raisehand fake-teacher` answers for them without a key.
    """
    task, messages = folder / "task.yaml", folder / "messages.csv"
    for path in (task, messages):
        if path.exists():
            raise StudentsError(f"{path} exists; name a folder that has none, or delete it first")
    folder.mkdir(parents=True, exist_ok=True)
    task.write_text(TASK.read_text("utf-8"), "utf-8")
    with messages.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "answer"])
        writer.writerows(made_up(MESSAGES, SEED))
    click.echo(f"{task}: what is asked, of whom, for how much. Edit it for your own job.")
    click.echo(f"{messages}: {MESSAGES:,} made-up messages and what a teacher would say.")


def made_up(n: int, seed: int) -> list[tuple[str, str]]:
    """Return `n` distinct messages with their labels: most words of each are of one kind."""
    rng = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < n:
        label, strange = rng.choice(list(WORDS)), rng.choice(list(WORDS))
        words = rng.sample(WORDS[label], 3) + rng.sample(WORDS[strange], 1)
        rng.shuffle(words)
        made[f"case {rng.randrange(10**6)}: {' '.join(words)}"] = label
    return list(made.items())
