"""What a chat teacher is asked about one text: one question, two orders of it, or two levels.

A question is a prompt, the answers it allows and the labels behind each answer. More labels than
the 20 log-probabilities an API shows are asked in two levels: which group of labels, then which
label of the likely groups.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from students.prompt import Prompt, fill, option_list
from students.task import Task

MOST_OPTIONS = 20
"""As many log-probabilities as OpenAI and vLLM show by default."""
LETTERS = tuple(string.ascii_uppercase)


@dataclass(frozen=True, slots=True)
class Question:
    """`labels[i]` are the label numbers that answer `answers[i]` stands for."""

    prompt: Prompt
    answers: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]


def first_questions(task: Task, orders: Sequence[bool]) -> list[Question]:
    """Return the question of each order (`True` is reversed); over groups if labels are many."""
    groups = label_groups(task)
    return [question(task, groups[::-1] if backwards else groups) for backwards in orders]


def every_question(task: Task) -> list[Question]:
    """Return all questions that can be asked about a text, in either order, at either level."""
    groups = label_groups(task)
    within = [
        question_within(task, group, backwards)
        for group in groups
        if len(group) > 1
        for backwards in (False, True)
    ]
    plain = Question(task.prompt, task.answers, tuple((k,) for k in range(len(task.schema_))))
    return [*first_questions(task, (False, True)), *within, plain]


def question_within(task: Task, group: Sequence[int], backwards: bool) -> Question:
    """Return the question which label of a group it is, in the order of the question before it.

    Asked in both orders, both levels are: the same question twice would only be paid twice.
    """
    return question(task, [(k,) for k in (group[::-1] if backwards else group)])


def label_groups(task: Task) -> list[tuple[int, ...]]:
    """Divide the labels, in order, into what one question can tell apart.

    Groups are of one label each where one question is enough; otherwise as few and as equal as
    possible, about the square root of the number of labels.
    """
    k = len(task.schema_)
    if task.teacher.answer_with == "word" or k <= MOST_OPTIONS:
        return [(i,) for i in range(k)]
    n = min(MOST_OPTIONS, max(2, round(k**0.5)))
    edges = [k * g // n for g in range(n + 1)]
    return [tuple(range(a, b)) for a, b in pairwise(edges)]


def order_of(task: Task) -> tuple[bool, ...]:
    """Return which orders a text is asked in: forward, or forward and reversed."""
    section = task.teacher
    if not section.prompt.lists_options or section.option_orders == "one":
        return (False,)
    both = section.option_orders == "both" or len(task.schema_) == 2
    return (False, True) if both else (False,)


def question(task: Task, groups: Sequence[tuple[int, ...]]) -> Question:
    """Return the question which of these groups of labels it is, listed in this order."""
    words, schema = task.answers, task.schema_
    if all(len(group) == 1 for group in groups):
        shown = [words[g[0]] for g in groups]
        told = [schema.descriptions[g[0]] for g in groups]
    else:
        shown = ["; ".join(words[k] for k in group) for group in groups]
        told = [""] * len(groups)
    if task.teacher.answer_with == "letter":
        letters = LETTERS[: len(groups)]
        options = option_list(shown, told, letters)
        return Question(fill(task.teacher.prompt, options), letters, tuple(groups))
    options = option_list(shown, told)
    return Question(fill(task.teacher.prompt, options), tuple(shown), tuple(groups))
