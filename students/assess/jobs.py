"""The narrow jobs in a log: calls that put texts into one prompt and get one of a few answers."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from students.assess.call import LoggedCall
from students.wording import bare

LEAST_CALLS = 50
"""Calls that make a group worth a look."""
MOST_ANSWERS = 400
RARE_SHARE = 0.001
"""An answer that is rarer than this, and than three calls, is no label but an accident."""
MOST_OTHER = 0.05
"""Share of answers that may be none of the labels."""
_KEY_WORDS = 4
_DIGITS = re.compile(r"\d+")
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True, eq=False)
class Job:
    """Calls of one prompt.

    Attributes:
        name: made of the prompt's first words; unique in a log.
        system: the system prompt, the most common one where they differ in numbers only.
        before, after: what stands around the text in the user's message.
        calls: all of them, in order of time.
    """

    name: str
    system: str
    before: str
    after: str
    calls: tuple[LoggedCall, ...]

    @cached_property
    def latest(self) -> tuple[LoggedCall, ...]:
        """The calls of the teacher that answers now: another model behind it is another teacher."""
        models = Counter(call.model for call in self.calls[-LEAST_CALLS:])
        now = models.most_common(1)[0][0]
        return tuple(call for call in self.calls if call.model == now)

    @property
    def models(self) -> list[tuple[str, int]]:
        """Who answered how often, in order of the first answer."""
        return list(Counter(call.model for call in self.calls).items())

    @cached_property
    def labels(self) -> dict[str, str]:
        """What was answered, as reading leaves it → as it was written most often; rare ones not."""
        written: dict[str, Counter[str]] = defaultdict(Counter)
        for call in self.latest:
            said = answer_of(call)
            written[bare(said)][said] += 1
        least = max(3.0, RARE_SHARE * len(self.latest))
        counted = sorted(written.items(), key=lambda item: -item[1].total())
        return {key: of.most_common(1)[0][0] for key, of in counted if of.total() >= least}

    @cached_property
    def answers(self) -> int:
        """How many different answers there are."""
        return len({bare(answer_of(call)) for call in self.latest})

    @cached_property
    def other_share(self) -> float:
        """Share of answers that are none of the labels."""
        labels = self.labels
        return sum(bare(answer_of(c)) not in labels for c in self.latest) / len(self.latest)

    @property
    def why_not(self) -> str | None:
        """Why this is no narrow job; None where it is one."""
        if len(self.labels) < 2:
            if self.labels and self.other_share <= MOST_OTHER:
                return f"always the same answer ({next(iter(self.labels.values()))!r})"
            return f"free text: {self.answers:,} different answers"
        if self.other_share > MOST_OTHER or len(self.labels) > MOST_ANSWERS:
            return f"free text: {self.answers:,} different answers"
        return None

    def text_of(self, call: LoggedCall) -> str:
        """The text that was put into the prompt."""
        end = len(call.user) - len(self.after)
        return call.user[len(self.before) : end].strip()


def answer_of(call: LoggedCall) -> str:
    """The answer itself: of JSON with one value, the value."""
    said = call.answer.strip()
    if said[:1] == "{":
        try:
            record = json.loads(said)
        except ValueError:
            return said
        if isinstance(record, dict) and len(record) == 1:
            return str(next(iter(record.values())))
    return said


def find_jobs(calls: Iterable[LoggedCall]) -> tuple[list[Job], int]:
    """Group calls by their prompt, the largest group first.

    A group has one system prompt (numbers in it may differ: dates, versions), or, without one, the
    same first or last words of its messages.

    Returns:
        The jobs and how many calls belong to none.
    """
    by_system: dict[str, list[LoggedCall]] = defaultdict(list)
    for call in calls:
        by_system[_DIGITS.sub("#", _BLANK.sub(" ", call.system).strip())].append(call)
    groups: list[list[LoggedCall]] = []
    for system, group in by_system.items():
        groups += [group] if system else _by_words(group)
    jobs: list[Job] = []
    lost = 0
    for group in sorted(groups, key=len, reverse=True):
        if len(group) < LEAST_CALLS:
            lost += len(group)
            continue
        group.sort(key=lambda call: call.at or 0.0)
        before, after = _template([call.user for call in group])
        system = Counter(call.system for call in group).most_common(1)[0][0]
        name = _name(system or before or after, {job.name for job in jobs})
        jobs.append(Job(name, system, before, after, tuple(group)))
    return jobs, lost


def _by_words(calls: list[LoggedCall]) -> list[list[LoggedCall]]:
    """Divide calls without a system prompt by the words that most of them begin or end with."""
    ends = [(("begins", *w[:_KEY_WORDS]), ("ends", *w[-_KEY_WORDS:])) for w in _words(calls)]
    often = Counter(key for pair in ends for key in pair)
    groups: dict[tuple[str, ...], list[LoggedCall]] = defaultdict(list)
    for call, pair in zip(calls, ends, strict=True):
        groups[max(pair, key=lambda key: often[key])].append(call)
    return list(groups.values())


def _words(calls: list[LoggedCall]) -> list[list[str]]:
    return [call.user.split() for call in calls]


def _template(users: Sequence[str]) -> tuple[str, str]:
    """What all messages begin and end with, up to a border between words."""
    before = _shared(users)
    while before and (before[-1].isalnum() or before[-1] in "'’"):
        before = before[:-1]
    after = _shared([user[len(before) :][::-1] for user in users])[::-1]
    while after and (after[0].isalnum() or after[0] in "'’"):
        after = after[1:]
    return before, after


def _shared(words: Sequence[str]) -> str:
    """The longest beginning of all: that of the first and the last in order."""
    first, last = min(words), max(words)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))]


def _name(words: str, taken: set[str]) -> str:
    found = re.findall(r"[a-z0-9]+", words.lower())[:4]
    name = "-".join(found)[:40] or "job"
    numbered = (f"{name}-{n}" for n in range(2, 10_000))
    return name if name not in taken else next(n for n in numbered if n not in taken)
