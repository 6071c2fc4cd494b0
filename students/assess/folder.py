"""From a job of a log to the folder of a task: its file, its inputs, and the answers as labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from costmodel.money.pricing import PriceSpec, now
from students.assess.jobs import Job, answer_of
from students.errors import BadInputs
from students.label.inputs import read_inputs
from students.label.labelled import LabelledSet
from students.label.record import (
    Agreement,
    LabellingRecord,
    LabelUsage,
    TeacherIdentity,
)
from students.label.split import split_inputs
from students.labels import NO_LABEL, LabelDistribution, means_label
from students.prompt import prompt_sha256
from students.task import Task, load_task
from students.teachers.completion import read_distribution
from students.texts.pii import mask
from students.wording import bare


def write_task(
    job: Job,
    price: PriceSpec,
    per_day: float,
    folder: Path,
    agreement: float,
    masked: Counter[str] | None,
) -> Task:
    """Write the task file and its inputs, `per_day` requests a day at a teacher of this price.

    Raises:
        BadInputs: there is another task in the folder.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    labels = list(job.labels.values())
    usable = [call for call in job.latest if job.text_of(call)]
    texts = [_clean(job.text_of(call), masked) for call in usable]
    times = [call.at for call in usable]
    dated = all(at is not None for at in times)
    columns: dict[str, Any] = {"text": texts, "answer": [answer_of(call) for call in usable]}
    if dated:
        columns["time"] = times
    content = {
        "name": job.name,
        "labels": labels,
        "teacher": {
            "mode": "text",
            "base_url": usable[0].base_url or "https://api.openai.com/v1",
            "model": job.latest[0].model,
            "api_key_env": "TEACHER_API_KEY",
            "prompt": {
                "system": _literal(job.system),
                "user": f"{_literal(job.before)}{{text}}{_literal(job.after)}",
            },
            "price": json.loads(price.model_dump_json(exclude_defaults=True)),
        },
        "inputs": {"path": "inputs.parquet", "text": "text"} | ({"time": "time"} if dated else {}),
        "promise": {"agreement": agreement},
        "student": {"family": "linear"},
        "traffic": {"requests_per_day": round(per_day, 1)},
    }
    path = folder / "task.yaml"
    written = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if path.exists() and path.read_text("utf-8") != written:
        raise BadInputs(
            f"{path} exists and is another task: of another log, another promise, or edited since; "
            "give another --out"
        )
    path.write_text(written, "utf-8")
    pq.write_table(pa.table(columns), folder / "inputs.parquet")
    return load_task(path)


def _literal(words: str) -> str:
    """What a prompt says, not a place for a text."""
    return words.replace("{text}", "{ text }").replace("{labels}", "{ labels }")


def _clean(text: str, masked: Counter[str] | None) -> str:
    return text if masked is None else mask(text, masked)


class LoggedCandidates:
    """Reads the candidates of an answer's first token as a distribution over labels.

    A token means the one label that it begins. Where labels begin alike it means none, and what is
    read then names no label, so that the answer itself counts.

    Args:
        words: the labels' answers, as reading leaves them.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._known: dict[str, int | None] = {}

    def __call__(self, candidates: Sequence[tuple[str, float]]) -> LabelDistribution:
        """Return the distribution."""
        return read_distribution(list(candidates), self._words, self._meant)

    def _meant(self, token: str, words: Sequence[str]) -> int | None:
        if token not in self._known:
            said = bare(token)
            begun = [k for k, word in enumerate(words) if said and word.startswith(said)]
            self._known[token] = begun[0] if len(begun) == 1 else None
        return self._known[token]


def logged_labels(
    job: Job, task: Task, masked: Counter[str] | None
) -> tuple[LabelledSet, dict[str, np.ndarray[Any, np.dtype[np.int64]]], LabellingRecord]:
    """Take the logged answers as labels: of a text asked often, the most frequent one.

    Where the log has the probabilities of its first token and they say the same, the label is soft.
    """
    inputs = read_inputs(task.inputs, task.schema_)
    place = {text: i for i, text in enumerate(inputs.texts)}
    columns = {key: k for k, key in enumerate(job.labels)}
    votes: list[Counter[int]] = [Counter() for _ in inputs.texts]
    read = LoggedCandidates(list(columns))
    n, k = len(inputs), len(task.schema_)
    mass, told = np.zeros((n, k + 1)), np.zeros(n, np.int64)
    truncated = np.zeros(n, np.bool_)
    for call in job.latest:
        row = place.get(_clean(job.text_of(call), None if masked is None else Counter()))
        if row is not None:
            votes[row][columns.get(bare(answer_of(call)), NO_LABEL)] += 1
            if call.first:
                said = read(call.first)
                mass[row] += (*said.probabilities, said.other)
                told[row] += 1
                truncated[row] |= said.truncated
    mean = mass / np.maximum(told, 1)[:, None]
    soft = (told > 0) & means_label(mean[:, :k], mean[:, k])
    probabilities, other = np.zeros((n, k), np.float32), np.zeros(n, np.float32)
    for row, counted in enumerate(votes):
        label = counted.most_common(1)[0][0]
        if label == NO_LABEL:
            other[row], soft[row] = 1.0, False
        else:
            soft[row] &= mean[row, :k].argmax() == label
            probabilities[row, label] = 1.0
    probabilities[soft], other[soft] = mean[soft, :k], mean[soft, k]
    labelled = LabelledSet(
        task.schema_,
        inputs.texts,
        probabilities,
        other,
        truncated & soft,
        inputs.gold,
    )
    splits = split_inputs(inputs)
    calls = job.latest
    usage = LabelUsage(
        input_tokens=sum(c.input_tokens for c in calls),
        output_tokens=sum(c.output_tokens for c in calls),
        cached_input_tokens=sum(c.cached_tokens for c in calls),
        requests=len(calls),
    )
    twice = [counted for counted in votes if counted.total() > 1]
    agreed = sum(len(counted) == 1 for counted in twice)
    record = LabellingRecord(
        task=task.name,
        teacher=TeacherIdentity(
            mode="text",
            model=task.teacher.model,
            revision=task.teacher.revision,
            prompt_sha256=prompt_sha256(task.prompt, task.answers),
            parameters=json.dumps({"source": "log"}),
            terms=task.teacher.terms,
        ),
        labels_sha256=labelled.sha256,
        inputs_sha256=inputs.sha256,
        n=n,
        rows=len(inputs.rows),
        usd=Decimal(0),
        unconfirmed_usd=Decimal(0),
        usage=usage,
        price="paid for already: the answers are the log's",
        asked=0,
        cached=n,
        rejected=0,
        unusable=int((~labelled.usable).sum()),
        refused=0,
        self_agreement=Agreement(n=len(twice), agreed=agreed),
        label_mass=tuple(np.histogram(1 - other, bins=10, range=(0, 1))[0].tolist()),
        unsure=int((~labelled.usable).sum()),
        truncated=0,
        gold=None,
        splits={name: rows.tolist() for name, rows in splits.items()},
        sampling=task.inputs.sampling,
        seed=0,
        date=now().date().isoformat(),
    )
    return labelled, splits, record
