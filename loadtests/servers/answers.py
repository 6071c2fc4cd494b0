"""What a fake teacher thinks of a text: from a reference, keywords or the text's hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from random import Random

from loadtests.servers.knobs import Knobs

BYTES_PER_TOKEN = 4


def probabilities_of(
    text: str, knobs: Knobs, references: Mapping[str, str], rng: Random
) -> list[float]:
    """Return one probability per label, summing to 1; the argmax is the answer.

    Most texts are clear (0.9 and more on the answer), a few are nearly a tie.
    """
    k = len(knobs.labels)
    answer = _answer(text, knobs, references)
    if _uniform(text, knobs.seed, "wrong") < knobs.wrong_rate:
        answer = _another(answer, k, _uniform(text, knobs.seed, "which"))
    if knobs.unsteady_rate and rng.random() < knobs.unsteady_rate:
        answer = rng.randrange(k)
    # Half of the doubt is on one other label, the rest on all others alike: with a share c of it
    # the runner-up stays below the answer while doubt < 1 / (1 + c).
    c = 0.5 + 0.5 / (k - 1)
    doubt = 0.98 / (1.0 + c) * _uniform(text, knobs.seed, "doubt") ** 4
    probabilities = [doubt / 2 / (k - 1)] * k
    probabilities[_another(answer, k, _uniform(text, knobs.seed, "runner-up"))] += doubt / 2
    probabilities[answer] = 1.0 - doubt
    return probabilities


def tokens_of(text: str) -> int:
    """Count tokens as this teacher bills them: one for every four bytes of UTF-8, at least one."""
    return max(1, math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN))


def _answer(text: str, knobs: Knobs, references: Mapping[str, str]) -> int:
    reference = references.get(text)
    if reference in knobs.labels:
        return knobs.labels.index(reference)
    lowered = text.lower()
    for label, words in knobs.keywords.items():
        if any(word in lowered for word in words):
            return knobs.labels.index(label)
    if knobs.keywords:
        rest = [i for i, label in enumerate(knobs.labels) if label not in knobs.keywords]
        if rest:
            return rest[0]
    return int(_uniform(text, knobs.seed, "answer") * len(knobs.labels))


def _another(answer: int, k: int, u: float) -> int:
    return (answer + 1 + int(u * (k - 1))) % k


def _uniform(text: str, seed: int, purpose: str) -> float:
    """Return a number in [0, 1) that depends on the text, the seed and the purpose alone."""
    content = f"{seed}\0{purpose}\0{text}".encode("utf-8", "replace")
    digest = hashlib.blake2b(content, digest_size=7).digest()
    return int.from_bytes(digest) / 2.0**56
