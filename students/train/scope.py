"""Fit the out-of-scope gate on texts alone: no label is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from students.runtime.scope import ScopeGate
from students.train.vocabulary import FeatureReading, Vocabulary

AXES = 50
CENTRES = 128
MOST_TEXTS = 20_000
"""More say nothing new of where the texts are."""
READING = FeatureReading("sublinear", longest=5)


def fit_scope(
    texts: Sequence[str], held_out: Sequence[str], keep: float, seed: int = 0
) -> ScopeGate:
    """Find the axes and centres of training texts, and the limit that `keep` of others stay within.

    Args:
        texts: N training texts.
        held_out: texts of the task that nothing was trained on; the limit is their quantile.
        keep: share of them that stays in scope.
        seed: of the sample, the axes and the centres.
    """
    from sklearn.cluster import KMeans
    from sklearn.utils.extmath import randomized_svd

    rng = np.random.default_rng(seed)
    some = [texts[i] for i in rng.permutation(len(texts))[:MOST_TEXTS]]
    vocabulary = Vocabulary.of(some, READING)
    _, _, axes = randomized_svd(
        _matrix(vocabulary, some), min(AXES, len(some) - 1), n_iter=3, random_state=seed
    )
    table = np.ascontiguousarray(axes.T, np.float32)
    weights = vocabulary.weights(table, np.zeros(table.shape[1], np.float32))
    places = _unit(weights.logits(some))
    found = KMeans(min(CENTRES, len(some) // 10 + 1), n_init=1, random_state=seed).fit(places)
    gate = ScopeGate(weights, _unit(found.cluster_centers_.astype(np.float32)), 2.0)
    limit = float(np.quantile(gate.distances(held_out), keep))
    return ScopeGate(gate.axes, gate.centres, limit)


def _matrix(vocabulary: Vocabulary, texts: Sequence[str]) -> object:
    """The texts as unit vectors over the features that were kept, sparse (N, rows)."""
    from scipy.sparse import csr_matrix

    bags = vocabulary.bags(texts)
    rows, shares = zip(*map(bags.listed, range(len(texts))), strict=True)
    return csr_matrix(
        (np.concatenate(shares), np.concatenate(rows), bags.offsets),
        shape=(len(texts), vocabulary.weight.size),
    )


def _unit(places: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(places, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (places / np.maximum(length, 1e-9)).astype(np.float32)
    return unit
