"""Blend a linear student with an encoder's, by the weight that is best on the validation rows.

Log-linearly: the blend's probabilities are w log p + (1 - w) log q, normalised, where p and q are
those of the two students, each after temperature scaling on the validation rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from students.certify.calibration import calibrated_kl, fit_temperature
from students.runtime.blend import Shares
from students.runtime.bundle import Trial

Float32 = npt.NDArray[np.float32]

WEIGHTS: Sequence[float] = tuple(n / 20 for n in range(21))
"""Of the linear part; 0 and 1 are the encoder and the linear student alone."""


def blend(linear: Float32, encoder: Float32, teacher: Float32) -> tuple[Shares, Trial]:
    """Choose the weight of least KL(teacher || blend) on rows that neither part was fitted to.

    Args:
        linear: logits (N, K) of the linear student.
        encoder: logits (N, K) of the encoder student.
        teacher: probabilities (N, K).

    Returns:
        What to multiply the logits by, and the chosen weight as a trial.
    """
    of_linear, of_encoder = fit_temperature(linear, teacher), fit_temperature(encoder, teacher)
    tried = []
    for weight in WEIGHTS:
        shares = Shares(weight / of_linear, (1 - weight) / of_encoder)
        logits = shares.of(linear, encoder)
        tried.append((calibrated_kl(logits, teacher), weight, shares))
    kl, weight, shares = min(tried, key=lambda one: one[0])
    said = shares.of(linear, encoder).argmax(axis=1)
    agreement = float((said == teacher.argmax(axis=1)).mean())
    return shares, Trial(linear_weight=weight, kl=kl, agreement=agreement)
