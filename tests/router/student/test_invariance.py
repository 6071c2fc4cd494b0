"""An answer does not depend on who else was in the batch, and belongs to its question."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from router.bench.subject import make_student, make_task, make_texts
from router.student.batcher import Batcher


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A linear student of 77 labels."""
    return make_student(make_task("http://127.0.0.1:9", tmp_path_factory.mktemp("x")).schema_)


@pytest.mark.parametrize("size", [2, 7, 64])
def test_a_text_is_answered_alike_alone_and_in_any_batch(student, size):
    """Label, confidence and probabilities are the same to the bit, also beside a very long text."""
    texts = [*make_texts(150, seed=3), "x" * 20_000, "", "\x00", "漢字 naïve 😀"]
    alone = [student.predict([text])[0] for text in texts]
    random.Random(size).shuffle(order := list(range(len(texts))))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        for i, together in zip(part, student.predict([texts[i] for i in part]), strict=True):
            assert together.label == alone[i].label
            assert together.confidence == alone[i].confidence
            assert np.array_equal(together.probabilities, alone[i].probabilities)


async def test_answers_are_not_mixed_up_under_concurrency(student):
    """5,000 texts submitted at random moments get what they get alone."""
    texts = make_texts(500, seed=4)
    alone = {text: student.predict([text])[0] for text in texts}
    batcher = Batcher(student, max_queue=10_000)
    batcher.start()
    rng = random.Random(0)

    async def ask(text):
        await asyncio.sleep(rng.random() * 0.2)
        scored = await batcher.submit(text)
        assert scored.prediction.label == alone[text].label
        assert scored.prediction.confidence == alone[text].confidence

    await asyncio.gather(*[ask(rng.choice(texts)) for _ in range(5_000)])
    await batcher.close()
