"""The students above the linear one, on the rows and budgets of an ablation.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from students.distill.judge import JudgedAnswers, Pool, drawn, outcome_of
from students.train.blend import blend
from students.train.frozen import HeadRecipe, frozen_logits, train_frozen_student
from students.train.linear import LinearRecipe, train_linear
from students.train.progress import Progress

FROZEN, BLEND = "frozen", "blend"


def encoder_rungs(
    pool: Pool,
    base: Path,
    cache: Path,
    recipe: LinearRecipe,
    sizes: Sequence[int],
    seeds: int,
    *,
    temperatures: Sequence[float],
    l2: Sequence[float],
    progress: Progress = lambda done, total: None,
) -> dict[str, dict[int, list[JudgedAnswers]]]:
    """Train a head on a frozen encoder, and its blend with a linear student, on every budget.

    Args:
        pool: the rows; a seed draws the same ones as for the linear student.
        base: local Hugging Face folder of the encoder.
        cache: folder in which vectors are kept: each text is embedded once for all trainings.
        recipe: of the linear part.
        sizes: numbers of teacher labels.
        seeds: trainings of each.
        temperatures: T that the head chooses from.
        l2: strengths that the linear part chooses from.
        progress: called with (students trained, students in all).
    """
    found: dict[str, dict[int, list[JudgedAnswers]]] = {
        name: {n: [] for n in sizes} for name in (FROZEN, BLEND)
    }
    for done, (n, seed) in enumerate([(n, seed) for n in sizes for seed in range(seeds)], 1):
        train, validation = drawn(pool, seed, n)
        head = train_frozen_student(
            train, validation, base, HeadRecipe(seed=seed), temperatures, cache=cache
        )
        mine = LinearRecipe(epochs=recipe.epochs, seed=seed)
        linear = train_linear(train, validation, mine, (recipe.temperature,), l2=l2)
        shares, _ = blend(linear.held_out, head.held_out, validation.probabilities)
        texts = pool.temperature.texts, pool.test.texts
        of_head = [frozen_logits(head, some, cache) for some in texts]
        of_linear = [linear.weights.logits(some) for some in texts]
        together = [shares.of(*pair) for pair in zip(of_linear, of_head, strict=True)]
        found[FROZEN][n].append(outcome_of(pool, *of_head))
        found[BLEND][n].append(outcome_of(pool, *together))
        progress(done, len(sizes) * seeds)
    return found
