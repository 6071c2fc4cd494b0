"""A sequence classifier on this machine, fed by a queue: the engine of `raisehand teacher`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from students.errors import BadTask

Float32 = npt.NDArray[np.float32]

_MAX_BATCH_TOKENS = 4096
"""Padded tokens of one forward pass: enough to fill two cores, small enough to answer soon."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Softmax over the classes, shape (K,), and the tokens that were read."""

    probabilities: Float32
    tokens: int


class LocalClassifier:
    """Any local Hugging Face folder that AutoModelForSequenceClassification can load.

    Raises:
        BadTask: no such folder, or no single-label classifier in it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "cpu",
        max_length: int = 512,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        if not (folder / "config.json").exists():
            raise BadTask(
                f"{folder} is not a model folder: it has no config.json; name a local Hugging Face "
                "folder (nothing is downloaded)"
            )
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BadTask(f"{folder} cannot be served as a classifier: {reason}") from None
        if model.config.num_labels < 2:
            raise BadTask(f"{folder} has {model.config.num_labels} class; at least 2 are needed")
        self.names: tuple[str, ...] = tuple(
            str(model.config.id2label[k]) for k in range(model.config.num_labels)
        )
        positions = int(getattr(model.config, "max_position_embeddings", max_length))
        self.max_length = min(max_length, positions, tokenizer.model_max_length)
        self._torch = torch
        self._model = model.to(device, getattr(torch, dtype)).eval()
        self._tokenizer = tokenizer
        self._device = device

    def answer(self, texts: Sequence[str]) -> list[ClassScores]:
        """Classify texts, in order. Longer ones are cut at `max_length` tokens.

        Rows are sorted by length and batched by padded tokens, so that a long text does not make
        short ones wait for its padding.
        """
        # Cut first: tokenizing a megabyte to keep 512 tokens would stall everybody behind it.
        shortened = [text[: 32 * self.max_length] for text in texts]
        encoded = self._tokenizer(shortened, truncation=True, max_length=self.max_length)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        answers: list[ClassScores | None] = [None] * len(texts)
        for rows in _batches(lengths):
            padded = self._tokenizer.pad(
                {key: [encoded[key][i] for i in rows] for key in encoded}, return_tensors="pt"
            ).to(self._device)
            with self._torch.inference_mode():
                logits = self._model(**padded).logits.float()
                probabilities = self._torch.softmax(logits, dim=-1).cpu().numpy()
            for i, p in zip(rows, probabilities, strict=True):
                answers[i] = ClassScores(p, lengths[i])
        return [answer for answer in answers if answer is not None]


class Queue:
    """One torch thread; every forward pass takes all that has queued meanwhile."""

    def __init__(self, classifier: LocalClassifier, max_texts: int = 256) -> None:
        self._classifier = classifier
        self._max_texts = max_texts
        self._waiting: asyncio.Queue[tuple[Sequence[str], asyncio.Future[list[ClassScores]]]] = (
            asyncio.Queue()
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="teacher")

    async def ask(self, texts: Sequence[str]) -> list[ClassScores]:
        """Return the answers to `texts`, in order."""
        future: asyncio.Future[list[ClassScores]] = asyncio.get_running_loop().create_future()
        await self._waiting.put((texts, future))
        return await future

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                jobs = [await self._waiting.get()]
                total = len(jobs[0][0])
                while total < self._max_texts and not self._waiting.empty():
                    jobs.append(self._waiting.get_nowait())
                    total += len(jobs[-1][0])
                jobs = [job for job in jobs if not job[1].done()]
                texts = [text for job, _ in jobs for text in job]
                try:
                    answers = await loop.run_in_executor(
                        self._thread, self._classifier.answer, texts
                    )
                except Exception as error:
                    for _, future in jobs:
                        if not future.done():
                            future.set_exception(error)
                    continue
                start = 0
                for asked, future in jobs:
                    if not future.done():
                        future.set_result(answers[start : start + len(asked)])
                    start += len(asked)
        finally:
            self._thread.shutdown(wait=False)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Group row numbers, shortest first, under the budget of padded tokens."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or (len(batches[-1]) + 1) * lengths[i] > _MAX_BATCH_TOKENS:
            batches.append([])
        batches[-1].append(i)
    return batches
