"""What labelling will cost, said before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from costmodel.money.pricing import Price, TokenUsage, now
from students.label.cache import ReplyCache
from students.label.inputs import Inputs
from students.label.labelling import REPEATS, repeat_sample
from students.task import Task
from students.teachers.bounds import BYTES_PER_TOKEN, calls_per_text, usage_guess

_ENOUGH_CACHED = 50


@dataclass(frozen=True, slots=True)
class Estimate:
    """`usd` for the `questions` still to ask, of `texts` inputs; `basis` says where from."""

    texts: int
    questions: int
    input_tokens: int
    usd: Decimal
    price: str
    basis: str

    def affordable(self, usd: Decimal) -> int:
        """How many questions fit into an amount."""
        return int(usd / self.usd * self.questions) if self.usd else self.questions

    @property
    def sentence(self) -> str:
        """The estimate for people."""
        return (
            f"{self.questions:,} questions to ask ({self.texts:,} texts, the rest is known or "
            f"repeated), about {self.input_tokens:,} input tokens: about ${self.usd:.2f} at "
            f"{self.price}; {self.basis}"
        )


def estimate_labelling(
    inputs: Inputs,
    task: Task,
    price: Price,
    cache: ReplyCache,
    *,
    repeats: int = REPEATS,
    flips: int = 0,
    seed: int = 0,
) -> Estimate:
    """Price the questions still to ask at the mean tokens of known answers, or by length.

    `flips` inputs are asked again in each single option order; those are counted in full.
    """
    known = cache.read(inputs.texts)
    again = cache.read(inputs.texts, repeat=1)
    n = len(inputs)
    unasked = [i for i in repeat_sample(n, repeats, seed) if i not in again]
    questions = n - len(known) + len(unasked)
    if questions:
        questions += min(flips, n)
    if len(known) >= _ENOUGH_CACHED:
        used = known.usage
        mean, written = used.input_tokens / len(known), used.output_tokens / len(known)
        basis = f"tokens as in {len(known):,} answers already there"
    else:
        guess = usage_guess(task)(inputs.texts)
        mean, written = guess.input_tokens / n, guess.output_tokens / n
        basis = f"tokens guessed at {BYTES_PER_TOKEN} bytes each"
    usage = TokenUsage(round(mean), round(written), requests=calls_per_text(task))
    each = price.cost(usage, now()).usd
    tokens = round(mean * questions)
    return Estimate(n, questions, tokens, each * questions, price.words, basis)
