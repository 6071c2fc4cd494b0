"""What is measured: a task of 77 labels and a linear student of the usual size.

The weights are random: speed depends on how many features a text has and on the size of the table,
not on what was learned. Texts have the length and the word repetition of short customer messages.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np

from costmodel.money.pricing import PriceSpec
from students.labels import LabelSchema
from students.prompt import Prompt
from students.runtime import hashing
from students.runtime.linear import LinearStudent, LinearWeights
from students.sections import InputsSection, StudentSection, TeacherSection
from students.task import Task

LABELS = 77
BUCKETS = 1 << 18
SHORTEST, LONGEST = 3, 5
MODEL = "big-teacher"
PROMPT = Prompt(
    system="You sort messages of bank customers. Answer with the name of one intent only.",
    user="Message: {text}\nIntent:",
)
_LETTERS = np.array(list("etaoinshrdlucmfwypvbgk"))


def make_texts(n: int, seed: int = 0) -> list[str]:
    """Make n messages of 4 to 22 words from 3,000 made-up words, frequent ones first (Zipf)."""
    rng = np.random.default_rng(seed)
    words = [
        "".join(_LETTERS[np.minimum(rng.zipf(1.5, rng.integers(2, 9)), 22) - 1])
        for _ in range(3_000)
    ]
    texts = []
    for _ in range(n):
        ranks = np.minimum(rng.zipf(1.3, rng.integers(4, 23)) - 1, len(words) - 1)
        texts.append(" ".join(words[r] for r in ranks) + "?")
    return texts


def make_task(teacher_url: str, work_dir: Path) -> Task:
    """Make the task: a chat teacher at `teacher_url` that answers one of 77 intents."""
    return Task(
        name="intents",
        labels=[f"intent_{k:02d}" for k in range(LABELS)],
        teacher=TeacherSection(
            mode="chat",
            base_url=teacher_url,
            model=MODEL,
            prompt=PROMPT,
            price=PriceSpec(usd_per_mtok_input=Decimal(1), usd_per_mtok_output=Decimal(5)),
        ),
        inputs=InputsSection(path=Path("inputs.csv")),
        student=StudentSection(
            price=PriceSpec(usd_per_hour=Decimal("0.10"), requests_per_second=2_000)
        ),
        work_dir=work_dir,
    )


def make_student(schema: LabelSchema, seed: int = 0) -> LinearStudent:
    """Make a student whose table has a row for every feature seen in two of 10,000 messages."""
    data, offsets = hashing.pack(make_texts(10_000, seed))
    features, _ = hashing.bag(data, offsets, SHORTEST, LONGEST, BUCKETS)
    seen = np.flatnonzero(np.bincount(features, minlength=BUCKETS) >= 2)
    slots = np.full(BUCKETS, -1, np.int32)
    slots[seen] = np.arange(seen.size, dtype=np.int32)
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 1.0, (seen.size, len(schema))).astype(np.float32)
    weights = LinearWeights.of(
        SHORTEST,
        LONGEST,
        slots,
        np.ones(seen.size, np.float32),
        logits,
        np.zeros(len(schema), np.float32),
    )
    return LinearStudent(schema, weights)
