"""What a teacher's words mean: the one label they name, or none.

A substring is not a meaning: "This is not urgent" holds the word urgent. So an answer counts only
where it *is* a label's word, up to what says nothing: case, blank, `-` and `_`, and punctuation,
quotes, markdown or JSON around it. Labels that differ in nothing else cannot be told apart.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

OPENING = "\"'`“„‘‚«‹「『([{<*_|"
"""Quotes, brackets and markdown before an answer. No `~`: struck out is taken back."""
_CLOSING = "\"'`“”‘’»›」』)]}>*_|.,:;!?。…"
_MARKS = re.compile(r"(?:[-+*•>]|#{1,6})\s+")
"""What begins a line of markdown: a list, a quotation, a heading."""
_FENCE = re.compile(r"```(?:\w+(?=\s*[\n{\[\"]))?\s*(.*?)\s*(?:```|$)", re.DOTALL)
_MEMBER = re.compile(r'\{\s*"([^"\\]*)"\s*:\s*("(?:[^"\\]|\\.)*"|[\w.+-]+(?=\s*\}))\s*\}?')
"""A JSON object of one member, also one that breaks off behind its value's closing quote."""
_NEGATED = re.compile(r"\b(?:no|non|not|never|without)\b")
_THOUGHT = re.compile(r".*(?:</think(?:ing)?>|◁/think▷|<\|channel\|>final<\|message\|>)", re.DOTALL)
_THINKING = ("<think", "◁think▷", "<|channel|>")


def read_answer(said: str, words: Sequence[str], *, cut: bool = False) -> int | None:
    """Return which word was answered, or None: it is none, or more was said than that.

    A `cut` answer (it ended at the token limit) counts only where it was closed before: it may be
    the beginning of a longer word, or of a sentence.
    """
    text = said.strip()
    fenced = _FENCE.fullmatch(text)
    member = _MEMBER.fullmatch(fenced[1] if fenced else text)
    if member:
        negated = _NEGATED.search(_separated(member[1]))
        return None if negated else _alone(_scalar(member[2]), words)
    return None if cut else _alone(fenced[1] if fenced else text, words)


def alike(words: Iterable[str]) -> tuple[str, str] | None:
    """Return two words that reading cannot tell apart, or None where it can tell all."""
    seen: dict[str, str] = {}
    for word in words:
        other = seen.setdefault(bare(word), word)
        if other is not word:
            return other, word
    return None


def without_thinking(content: str) -> str:
    """Return what was said after thinking aloud; all of it where nobody did."""
    return _THOUGHT.sub("", content, count=1).strip()


def thinks_aloud(content: str) -> bool:
    """Whether the words hold a thought, ended or not."""
    return content.lstrip().startswith(_THINKING) or _THOUGHT.match(content) is not None


def _alone(text: str, words: Sequence[str]) -> int | None:
    written, folded = _readings(tuple(words))
    layers = list(_peeled(text))
    # Marks may belong to a word (C#, "paid?"), so the reading that keeps most of them goes first.
    return next((written[text] for text in layers if text in written), folded.get(layers[-1]))


@lru_cache(maxsize=64)
def _readings(words: tuple[str, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Where each word stands: as it is written, and as reading leaves it."""
    written = {_separated(word): k for k, word in enumerate(words)}
    return written, {bare(word): k for k, word in enumerate(words)}


def bare(word: str) -> str:
    """Return what reading leaves of an answer: words that are alike are the same answer."""
    *_, last = _peeled(word)
    return last


def _peeled(text: str) -> Iterator[str]:
    """Yield the text as it reads, then without its outermost marks, layer by layer."""
    rest = _separated(text)
    while True:
        yield rest
        inner = _MARKS.sub("", rest, count=1) if _MARKS.match(rest) else rest
        inner = inner.removeprefix(inner[:1]) if inner[:1] in OPENING else inner
        inner = (inner.removesuffix(inner[-1:]) if inner[-1:] in _CLOSING else inner).strip()
        if not inner or inner == rest:
            return
        rest = inner


def _separated(text: str) -> str:
    """Fold case and width; between letters, blanks, dashes and `_` are one blank."""
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    return re.sub(r"(?<=\w)[\s_‐–-]+(?=\w)", " ", folded)


def _scalar(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value, strict=False))
    except ValueError:
        return value.strip('"')
