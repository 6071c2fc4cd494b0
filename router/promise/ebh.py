"""Which of several promises are broken: e-BH, one test for all of them.

Wang & Ramdas (2022): of n e-values, the k largest are rejected where the k-th is at least n / (k
delta). The expected share of false rejections is then at most delta, whatever the dependence; one
class shares its audits with the overall promise, so they do depend. Some promise is rejected only
where the mean of the e-values is at least 1 / delta; the mean of e-processes is one, so while all
promises hold that happens, ever, with probability at most delta: one may look after every audit.
"""

from __future__ import annotations

from collections.abc import Mapping


def rejected(e_values: Mapping[str, float], delta: float) -> frozenset[str]:
    """Names of the promises that the evidence rejects at a false discovery rate of delta."""
    ranked = sorted(e_values, key=e_values.__getitem__, reverse=True)
    most = 0
    for k, name in enumerate(ranked, start=1):
        if e_values[name] >= len(ranked) / (k * delta):
            most = k
    return frozenset(ranked[:most])
