"""Shipped fakes: a teacher and a student that say what they are told to, in this process.

And bundles of students that nothing was proved about, for tests and benches that serve one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue
from safetensors.numpy import save_file

from costmodel.money.pricing import TokenUsage
from students.certificate import Certificate
from students.confidence import Kind, confidence
from students.labels import LabelDistribution, LabelSchema, Prediction
from students.runtime.bundle import Bundle, Family, Manifest, draft, hash_files, publish
from students.task import Task
from students.teachers import make_teacher
from students.teachers.protocol import TeacherDescriptor, TeacherReply

if TYPE_CHECKING:
    # Reading it needs numba, which a machine that serves encoders alone need not have.
    from students.runtime.linear import LinearWeights

Answer = str | Sequence[float] | LabelDistribution | Exception
"""A label name, probabilities (K,), a whole distribution, or an error to raise."""


class ScriptedTeacher:
    """A teacher in this process.

    Attributes:
        calls: the texts of every call, in order of arrival.
        in_flight: calls that have not returned yet; `peak` is the most there ever were.

    Args:
        schema: the labels.
        answer: what to say of a text; a function, or one answer for all texts; a whole reply, too.
        latency_s: how long every call takes.
        faults: consumed one a call before anything is answered: an exception is raised, a number
            is slept (seconds), None does nothing.
        usage: what one text consumes.
    """

    def __init__(
        self,
        schema: LabelSchema,
        answer: Callable[[str], Answer | TeacherReply] | Answer | TeacherReply,
        *,
        latency_s: float = 0.0,
        faults: Iterable[Exception | float | None] = (),
        usage: TokenUsage = TokenUsage(input_tokens=20, output_tokens=1),  # noqa: B008 frozen
        model: str = "scripted",
        revision: str = "1",
    ) -> None:
        self.schema = schema
        self.descriptor = TeacherDescriptor("scripted", model, revision, "", "{}")
        self.latency_s = latency_s
        self.usage = usage
        self.calls: list[tuple[str, ...]] = []
        self.in_flight = 0
        self.peak = 0
        self.closed = False
        self._answer = answer if callable(answer) else lambda text: answer
        self._faults = iter(faults)

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Answer as scripted, after the fault that is due."""
        self.calls.append(tuple(texts))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            fault = next(self._faults, None)
            delay = self.latency_s + (fault if isinstance(fault, (int, float)) else 0.0)
            if delay:
                await asyncio.sleep(delay)
            if isinstance(fault, Exception):
                raise fault
            return [self._reply(text) for text in texts]
        finally:
            self.in_flight -= 1

    async def check(self, *, timeout_s: float | None = None) -> None:
        """A scripted teacher is always there."""

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _reply(self, text: str) -> TeacherReply:
        answer = self._answer(text)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, TeacherReply):
            return answer
        if isinstance(answer, str):
            answer = LabelDistribution.hard(self.schema.index(answer), len(self.schema))
        elif not isinstance(answer, LabelDistribution):
            answer = LabelDistribution(tuple(float(p) for p in answer))
        wording = self.schema.names[answer.argmax]
        return TeacherReply(answer, self.usage, wording, json.dumps({"label": wording}))


class ScriptedStudent:
    """A student in this process.

    Args:
        schema: the labels.
        answer: probabilities (K,) of a text, a label name, or an error to raise; NaN is passed on.
        delay_s: how long a call blocks, whatever its size.
        kind: how confidence is scored.
    """

    in_place_tokens = 0

    def __init__(
        self,
        schema: LabelSchema,
        answer: Callable[[str], Answer] | Answer,
        *,
        delay_s: float = 0.0,
        kind: Kind = "max_probability",
    ) -> None:
        self.schema = schema
        self.delay_s = delay_s
        self.calls: list[tuple[str, ...]] = []
        self._answer = answer if callable(answer) else lambda text: answer
        self._kind = kind

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answer as scripted; an error for one text fails the call, as in a real batch."""
        self.calls.append(tuple(texts))
        if self.delay_s:
            time.sleep(self.delay_s)
        if not texts:
            return []
        p = np.array([self._probabilities(text) for text in texts], np.float32)
        scores = confidence(p, self._kind)
        return [
            Prediction(int(np.nan_to_num(row).argmax()), float(score), row)
            for row, score in zip(p, scores, strict=True)
        ]

    def token_count(self, text: str) -> int:
        """One token for every four characters, and at least one."""
        return max(1, len(text) // 4)

    def _probabilities(self, text: str) -> Sequence[float]:
        answer = self._answer(text)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return LabelDistribution.hard(self.schema.index(answer), len(self.schema)).probabilities
        if isinstance(answer, LabelDistribution):
            return answer.probabilities
        return answer


def publish_linear(
    task: Task,
    weights: LinearWeights,
    thresholds: Sequence[float],
    *,
    rungs: Sequence[float] = (),
) -> Bundle:
    """Publish a linear student: see `publish_unproved`."""
    tensors = weights.tensors()
    return publish_unproved(
        task,
        "linear",
        weights.config(),
        lambda path: save_file(tensors, path / "weights.safetensors"),
        thresholds,
        rungs=rungs,
    )


def publish_unproved(
    task: Task,
    family: Family,
    config: dict[str, JsonValue],
    save: Callable[[Path], object],
    thresholds: Sequence[float] | None,
    *,
    labels: Sequence[str] | None = None,
    rungs: Sequence[float] = (),
) -> Bundle:
    """Publish a student that fits a task and its teacher; its certificate says what it is told.

    Args:
        task: whose work_dir gets it.
        family: what runs it.
        config: what running it needs besides its files.
        save: writes its files into a folder.
        thresholds: (K,), those of its certificate; None: it has none.
        labels: default: the task's.
        rungs: thresholds that audits may raise it to.
    """
    names = tuple(labels or task.schema_.names)
    with draft(task.work_dir / "bundles") as path:
        save(path)
        manifest = Manifest(
            task=task.name,
            labels=names,
            family=family,
            config=config,
            temperature=1.0,
            confidence="max_probability",
            files=hash_files(path),
            teacher=make_teacher(task).descriptor,
            rungs=tuple(rungs),
            created="2026-01-01",
        )
        if thresholds is not None:
            certificate = _unproved(manifest, thresholds)
            manifest = manifest.model_copy(update={"certificate": certificate})
        return publish(path, manifest)


def _unproved(manifest: Manifest, thresholds: Sequence[float]) -> Certificate:
    teacher = manifest.teacher
    return Certificate(
        promise="system",
        agreement=0.97,
        confidence=0.95,
        thresholds=tuple(thresholds),
        n_calibration=1_000,
        n_accepted=1_000,
        disagreements=3,
        agreement_lower_bound=0.98,
        coverage=1.0,
        method="none: made up",
        teacher_model=teacher.model,
        teacher_revision=teacher.revision,
        teacher_mode=teacher.mode,
        artefact_sha256=manifest.artefact_sha256,
        calibration_sha256="0" * 64,
        use=1,
        date="2026-01-01",
    )
