"""Two answerers on the same gold rows: is the difference real?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from students.certify.scoring import macro_f1_of
from students.evaluation import IntervalEstimate, Paired

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

RESAMPLES = 2000


def paired(gold: Ints, first: Ints, second: Ints, *, seed: int = 0) -> Paired:
    """Compare two sets of answers (N,) with gold (N,): first − second, percentile bootstrap.

    Rows are resampled together, so what both get right cancels. Macro-F1 is over the classes that
    occur in gold; a class absent from a resample does not count in it.
    """
    # Only the counts of (gold, first, second) matter: resampling N rows is one multinomial draw.
    triples, counts = np.unique(np.stack([gold, first, second]), axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    n = int(counts.sum())
    weights = np.vstack([counts, rng.multinomial(n, counts / n, size=RESAMPLES)]).astype(np.float64)
    right = triples[1:] == triples[0]
    accuracy = weights @ (right[0].astype(np.float64) - right[1]) / n
    macro_f1 = macro_f1_of(weights, triples[0], triples[1]) - macro_f1_of(
        weights, triples[0], triples[2]
    )
    only_first = int(counts[right[0] & ~right[1]].sum())
    only_second = int(counts[right[1] & ~right[0]].sum())
    discordant = only_first + only_second
    return Paired(
        n=n,
        accuracy=_interval(accuracy),
        macro_f1=_interval(macro_f1),
        only_first=only_first,
        only_second=only_second,
        p_value=float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0,
    )


def _interval(values: Floats) -> IntervalEstimate:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return IntervalEstimate(estimate=float(values[0]), low=float(low), high=float(high))
