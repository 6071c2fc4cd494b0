"""How fast a student is on this machine: what the simulator charges for its time."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from costmodel.inputs.profile import RiskCoveragePoint, StudentProfile
from students.runtime.protocol import Student

BATCHES = (1, 4, 16, 64, 256)
LEAST_S = 0.02
REPEATS = 5
ENOUGH_S = 3.0
"""A size that took so long was timed on many texts; to be timed more often makes it no surer."""


def profile_student(
    student: Student,
    texts: Sequence[str],
    risk_coverage: Sequence[RiskCoveragePoint],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> StudentProfile:
    """Time batches of several sizes on one core and fit seconds = fixed_s + per_token_s * tokens.

    Args:
        student: loaded and warm.
        texts: real texts to time it on, at least one.
        risk_coverage: how sure it is, from the evaluation.
        clock: seconds.
    """
    tokens, seconds = [], []
    with one_core():
        for size in BATCHES:
            batch = [texts[i % len(texts)] for i in range(size)]
            tokens.append(sum(student.token_count(text) for text in batch))
            seconds.append(_time(student, batch, clock))
    fixed, per_token = _line(np.array(tokens, float), np.array(seconds))
    return StudentProfile(
        fixed_s=fixed,
        per_token_s=per_token,
        mean_tokens=float(np.mean([student.token_count(text) for text in texts])),
        texts_per_s=BATCHES[-1] / seconds[-1],
        risk_coverage=tuple(
            RiskCoveragePoint(threshold=p.threshold, coverage=p.coverage, risk=p.risk)
            for p in risk_coverage
        ),
        machine=f"{machine()}, 1 core",
    )


def machine() -> str:
    """Name the processor, as well as this system knows it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123 not a file
            names = [line.partition(":")[2].strip() for line in stream if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch, where it is loaded at all, use one thread."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)


def _time(student: Student, batch: Sequence[str], clock: Callable[[], float]) -> float:
    """Median seconds of one call; short calls are timed several at a time, long ones less often."""
    start = clock()
    student.predict(batch)
    calls = max(1, int(LEAST_S / max(clock() - start, 1e-6)))
    taken = []
    for _ in range(REPEATS):
        start = clock()
        for _ in range(calls):
            student.predict(batch)
        taken.append((clock() - start) / calls)
        if sum(taken) * calls > ENOUGH_S:
            break
    return statistics.median(taken)


def _line(tokens: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Fit a line of least relative error with both coefficients at least 0."""
    from scipy.optimize import nnls

    columns = np.stack([np.ones_like(tokens), tokens], axis=1) / seconds[:, None]
    (fixed, per_token), _ = nnls(columns, np.ones_like(seconds))
    return float(fixed), float(per_token)
