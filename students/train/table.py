"""A logit of each class for each feature, learnt with Adagrad from a teacher's soft labels.

An epoch is one compiled call: the gradient of the distillation loss has a closed form, and a step
reads and moves only the rows that its batch meets. The gradient of the others is zero, which leaves
them as they are, and going over all of them would take most of the time.

The kernels release the GIL, so several tables learn side by side, a core each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from students.runtime.hashing import compiled

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Uint32 = npt.NDArray[np.uint32]

ROW_BITS = 19
"""Of a packed feature; the rest says how often it occurs."""
ROW_MASK = np.uint32((1 << ROW_BITS) - 1)
MOST_TIMES = (1 << (32 - ROW_BITS)) - 1
"""A feature that a text has more often counts as if it had it so often."""
_SHIFT = np.uint32(ROW_BITS)
_ONE = np.float32(1.0)
_TINY = np.float32(1e-10)
_LEAST_SUM = np.float32(1e-30)
_FLOATS = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
"""What lets the compiler use SIMD; equal input still gives equal bits."""


class Bags(NamedTuple):
    """Features of N texts, end to end, in 4 bytes each: a million texts have 200 million of them.

    How much of a feature a text has is scale[text] weight[row] terms[times]. The bias, the last row
    of the table, is in every text with a share of 1 and is not listed.

    Attributes:
        features: (M,), rows of the table, each once in a text, and how often it occurs: `packed`.
        scale: (N,), that of each text.
        offsets: (N + 1,), where each text begins.
        weight: (rows,), of each row but the bias.
        terms: (`MOST_TIMES` + 1,), what n occurrences count.
    """

    features: Uint32
    scale: Float32
    offsets: Int64
    weight: Float32
    terms: Float32

    @classmethod
    def joined(cls, parts: Iterable[Bags]) -> Bags:
        """Lay the texts of all parts, at least one and read alike, end to end.

        Parts that are made one by one are let go of so: they are never held beside the whole.
        """
        features, scales, offsets = np.empty(0, np.uint32), [], []
        for part in parts:
            begin = features.size
            # Grown where it lies, or moved by the kernel: a copy would hold all of it twice.
            features.resize(begin + part.features.size, refcheck=False)
            features[begin:] = part.features
            scales.append(part.scale)
            offsets.append(part.offsets[:-1] + begin)
        end = np.array([features.size], np.int64)
        whole = np.concatenate(scales), np.concatenate([*offsets, end])
        return cls(features, *whole, part.weight, part.terms)

    def listed(self, text: int) -> tuple[Int32, Float32]:
        """Rows and shares of one text, without the bias."""
        here = self.features[self.offsets[text] : self.offsets[text + 1]]
        rows, times = (here & ROW_MASK).astype(np.int32), here >> ROW_BITS
        return rows, self.scale[text] * self.weight[rows] * self.terms[times]


def packed(rows: Int32, times: Int32) -> Uint32:
    """Put rows and how often each occurs, at most `MOST_TIMES` counted, into 4 bytes."""
    counted = np.minimum(times, MOST_TIMES).astype(np.uint32)
    return rows.astype(np.uint32) | (counted << np.uint32(ROW_BITS))


class Lesson(NamedTuple):
    """What the teacher says of N texts, as the gradient of the distillation loss needs it.

    The loss is `students.train.training.distillation_loss`. With q_T = softmax(z / T), p_T the
    softened teacher, y its answer and m the label mass, its gradient at the logits z of a text is

        m / sum(m of the batch) ((1 - lambda) T (q_T - p_T) + lambda (q_1 - e_y)).

    Attributes:
        teacher: (N, K), p; rows may sum to less than 1.
        mass: (N,), m.
        temperature: T.
        hard_weight: lambda.
    """

    teacher: Float32
    mass: Float32
    temperature: np.float32
    hard_weight: np.float32

    @classmethod
    def of(cls, teacher: Float32, temperature: float, hard_weight: float) -> Lesson:
        """Take the teacher's probabilities (N, K); they are not copied."""
        return cls(teacher, teacher.sum(axis=1), np.float32(temperature), np.float32(hard_weight))


class FeatureTable:
    """The logits of each feature, all 0 before it learns.

    Adagrad (Duchi et al. 2011), because a rare feature keeps a large step for when it is seen.

    Attributes:
        weight: (rows, K).
        rate: learning rate; may be changed between epochs.
        ridge: (rows,), L2: times the weight, what a step adds to the gradient of a row it meets.
    """

    def __init__(self, rows: int, classes: int, rate: float, ridge: Float32 | None = None) -> None:
        self.weight: Float32 = np.zeros((rows, classes), np.float32)
        self.rate = rate
        self.ridge = np.zeros(rows, np.float32) if ridge is None else ridge
        self._squares = np.zeros_like(self.weight)

    def logits(self, texts: Bags) -> Float32:
        """Return the logits (N, K) of N texts."""
        out = np.empty((texts.offsets.size - 1, self.weight.shape[1]), np.float32)
        _logits(self.weight, texts, out)
        return out

    def learn(self, texts: Bags, lesson: Lesson, order: Int64, batch_size: int) -> None:
        """Make one step for every `batch_size` of the texts, in the given order."""
        rate = np.float32(self.rate)
        _learn(
            self.weight, self._squares, self.ridge, rate, texts, lesson, order, batch_size
        )  # fmt: skip


@compiled(**_FLOATS)
def _logits(weight: Float32, texts: Bags, out: Float32) -> None:
    for text in range(out.shape[0]):
        _text_logits(weight, texts, text, out[text])


@compiled(**_FLOATS)
def _learn(
    weight: Float32,
    squares: Float32,
    ridge: Float32,
    rate: np.float32,
    texts: Bags,
    lesson: Lesson,
    order: Int64,
    batch_size: int,
) -> None:
    rows, classes = weight.shape
    # The rows that a batch meets, in the order of meeting; each one's place there; its gradient.
    met = np.empty(rows, np.int32)
    place = np.full(rows, -1, np.int32)
    gradients = np.empty((rows, classes), np.float32)
    logits = np.empty(classes, np.float32)
    slope = np.empty(classes, np.float32)
    for start in range(0, order.size, batch_size):
        batch = order[start : start + batch_size]
        mass = max(lesson.mass[batch].sum(), _TINY)
        found = 0
        for text in batch:
            _text_logits(weight, texts, text, logits)
            text_slope(logits, lesson, text, slope)
            part = lesson.mass[text] / mass
            for m in range(texts.offsets[text], texts.offsets[text + 1] + 1):
                row, share = np.int64(rows - 1), _ONE  # the bias, after the last one
                if m < texts.offsets[text + 1]:
                    row, share = _listed(texts, text, m)
                if place[row] < 0:
                    place[row] = found
                    met[found] = row
                    gradients[found] = 0.0
                    found += 1
                _add(gradients[place[row]], share * part, slope)
        for n in range(found):
            row = met[n]
            place[row] = -1
            _add(gradients[n], ridge[row], weight[row])
            _step(weight[row], squares[row], gradients[n], rate)


@compiled(**_FLOATS)
def _text_logits(weight: Float32, texts: Bags, text: int, out: Float32) -> None:
    out[:] = weight[weight.shape[0] - 1]
    for m in range(texts.offsets[text], texts.offsets[text + 1]):
        row, share = _listed(texts, text, m)
        _add(out, share, weight[row])


@compiled(**_FLOATS)
def _listed(texts: Bags, text: int, m: int) -> tuple[np.int64, np.float32]:
    """Row and share of a text's feature at place m."""
    row = np.int64(texts.features[m] & ROW_MASK)
    times = np.int64(texts.features[m] >> _SHIFT)
    return row, texts.scale[text] * texts.weight[row] * texts.terms[times]


@compiled(**_FLOATS)
def text_slope(logits: Float32, lesson: Lesson, text: int, out: Float32) -> None:
    """Write the gradient of a text's loss, before its label mass, to `out` (K,).

    The logits (K,) are spent: they may come out changed. What the teacher rules out stays ruled
    out: p^(1/T) of 0 is 0 at any T.
    """
    teacher, root = lesson.teacher[text], _ONE / lesson.temperature
    _softmax(logits, lesson.temperature, out)
    soft = (_ONE - lesson.hard_weight) * lesson.temperature
    if soft > 0:
        total = np.float32(0.0)
        for k in range(out.size):
            total += teacher[k] ** root
        total = max(total, _LEAST_SUM)
        for k in range(out.size):
            out[k] = soft * (out[k] - teacher[k] ** root / total)
    else:
        out[:] = 0.0
    if lesson.hard_weight > 0:
        _softmax(logits, _ONE, logits)
        _add(out, lesson.hard_weight, logits)
        out[teacher.argmax()] -= lesson.hard_weight


@compiled(**_FLOATS)
def _softmax(logits: Float32, temperature: np.float32, out: Float32) -> None:
    top = logits.max()
    for k in range(out.size):
        out[k] = np.exp((logits[k] - top) / temperature)
    out /= out.sum()


@compiled(**_FLOATS)
def _add(total: Float32, times: np.float32, what: Float32) -> None:
    for k in range(total.size):
        total[k] += times * what[k]


@compiled(**_FLOATS)
def _step(weight: Float32, squares: Float32, gradient: Float32, rate: np.float32) -> None:
    for k in range(weight.size):
        squares[k] += gradient[k] * gradient[k]
        weight[k] -= rate * gradient[k] / (np.sqrt(squares[k]) + _TINY)
