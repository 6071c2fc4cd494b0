"""Texts made of labelled ones, for a linear student to learn what a head on an encoder says.

A teacher's answer costs money, the answer of a better student a few milliseconds. What an n-gram is
worth when its neighbours are missing, few labels tell; thousands of texts without a word do. (A
teacher assistant, Mirzadeh et al. 2020, on augmented texts as in TinyBERT, Jiao et al. 2020.)

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from students.certify.calibration import fit_temperature
from students.label.labelled import LabelledSet
from students.train.encoder import TrainedEncoder
from students.train.frozen import frozen_logits
from students.train.linear import TrainedLinear, train_linear
from students.train.progress import Progress

DROPPED = 0.2
"""Chance of each word to be left out."""
REPEATS = 2
"""Times that a labelled text is learnt beside its variants, which are answered less well."""


def without_words(texts: Sequence[str], each: int) -> tuple[str, ...]:
    """Return up to `each` variants of every text, none twice and none that is a text itself.

    They depend on the text alone, so that another training finds their vectors kept. A text of one
    word has none.
    """
    found = dict.fromkeys(variant for text in texts for variant in _variants(text, each))
    own = set(texts)
    return tuple(text for text in found if text not in own)


def _variants(text: str, each: int) -> Iterator[str]:
    words = text.split()
    seed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    kept = np.random.default_rng(list(seed)).random((each, len(words))) >= DROPPED
    for row in kept:
        if row.any():
            yield " ".join(word for word, stays in zip(words, row, strict=True) if stays)


def answered(
    texts: tuple[str, ...], assistant: TrainedEncoder, validation: LabelledSet, cache: Path,
    progress: Progress | None = None,
) -> LabelledSet:  # fmt: skip
    """Return what a head on a frozen encoder says of texts, calibrated on the validation rows."""
    temperature = fit_temperature(assistant.held_out, validation.probabilities)
    logits = frozen_logits(assistant, texts, cache, progress) / temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    n = len(texts)
    return LabelledSet(
        validation.schema,
        texts,
        (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32),
        np.zeros(n, np.float32),
        np.zeros(n, bool),
        np.full(n, -1, np.int32),
    )


def train_on_variants(
    train: LabelledSet,
    validation: LabelledSet,
    made: LabelledSet,
    plain: TrainedLinear,
    progress: Progress | None = None,
) -> TrainedLinear:
    """Train a linear student on rows and variants; the plain one stays where it is the better.

    Args:
        train: rows to learn, each `REPEATS` times.
        validation: rows that choose, and are learnt in the end.
        made: variants of the training rows, answered.
        plain: learnt from the rows alone; how it reads a text and its L2 are kept.
        progress: of the training.
    """
    recipe = replace(plain.recipe, temperature=1.0, hard_weight=0.0)
    rows = train.take(np.tile(np.arange(len(train)), REPEATS)).joined(made)
    taught = train_linear(
        rows, validation, recipe, l2=(recipe.l2,), readings=(recipe.reading,), progress=progress
    )
    best = taught.trials[0].model_copy(update={"variants": len(made)})
    if best.kl >= plain.trials[0].kl:
        return replace(plain, trials=(*plain.trials, best))
    return replace(taught, trials=(best, *plain.trials))
