"""Proof of which first tokens mean which label, on the real server.

A token is a label's where it is the label's whole word. A shorter one ("I", "ref") may begin
anything: it counts only once the server has shown that it cuts this word there. `/tokenize` (vLLM,
SGLang) shows its tokens; any other server is asked to repeat the word, and its own logprobs show
how it cuts it. No proof makes an article or a pronoun a label: sentences begin with them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.errors import TeacherGarbled, TeacherRejected
from students.teachers.client import TeacherClient
from students.teachers.usage import usage_of
from students.wording import OPENING

OPENERS = frozenset(
    "a an the i it its this that these those there here as in on at to of for from we you he she "  # noqa: SIM905
    "they my your our based sorry sure certainly unfortunately given let ok okay well hello hi "
    "dear according thank thanks please after because looking".split()
)
"""What sentences begin with; a label that begins so needs another word."""
_OTHER_WORD = (
    "give each label a word of its own start in teacher.answers, e.g. A, B, C, and name these in "
    "the prompt"
)


@dataclass(frozen=True, slots=True)
class _Proof:
    """First tokens of a word in its spellings; as it is spelled, of `shortest` letters."""

    shortest: int
    tokens: frozenset[str]


class FirstTokens:
    """What a server's first tokens say; a word is proved once, when a beginning of it is seen."""

    def __init__(
        self,
        client: TeacherClient,
        *,
        model: str,
        tokenize_url: str,
        chat_url: str,
        body: Mapping[str, Any],
    ) -> None:
        self._client = client
        self._model = model
        self._tokenize_url = tokenize_url
        self._chat_url = chat_url
        self._body = body
        self._proofs: dict[str, _Proof | None] = {}
        self._tokenizes = True
        self._proving = asyncio.Lock()

    def meant(self, token: str, words: Sequence[str]) -> int | None:
        """Return which word a first token means, or None."""
        begun = {k: said for k, word in enumerate(words) if (said := _beginning(token, word))}
        if len(begun) != 1:
            return None
        [(k, said)] = begun.items()
        if len(said) == len(words[k]):
            return k
        proof = self._proofs.get(words[k])
        if proof is None or said.casefold() in OPENERS:
            return None
        return k if len(said) >= proof.shortest or said in proof.tokens else None

    async def prove(self, listed: Sequence[str], words: Sequence[str]) -> TokenUsage:
        """Prove the words that a listed token begins and is not; return what asking consumed.

        A word that the server will not show stays without proof: no beginning of it counts.
        """
        consumed = NO_USAGE
        for word in words:
            if word in self._proofs or not any(
                0 < len(_beginning(token, word)) < len(word) for token in listed
            ):
                continue
            try:
                _, usage = await self._first([word])
                consumed += usage
            except (TeacherRejected, TeacherGarbled) as error:
                self._proofs[word] = None
                consumed += error.usage or NO_USAGE
        return consumed

    async def prove_distinct(self, words: Sequence[str]) -> None:
        """Return if the first token of each word begins no other word, and no sentence.

        Words with different first letters need no proof of that: any first token of one is a
        beginning of it alone.

        Raises:
            TeacherRejected: it does, or nothing can show it; names the words and the way out.
            TeacherUnavailable: the server cannot be reached.
        """
        for word in words:
            opener, *rest = re.split(r"[\s_-]+", word.casefold())
            if rest and opener in OPENERS:
                raise TeacherRejected(
                    f"the answer {word!r} begins with {opener!r}, as a sentence does, so its first "
                    f"token says nothing; {_OTHER_WORD}"
                )
        if len({word[0].casefold() for word in words}) == len(words):
            return
        first, _ = await self._first(words)
        clash = _collision(words, first)
        if clash:
            one, other, token = clash
            raise TeacherRejected(
                f"the answers {one!r} and {other!r} cannot be told apart by the first token "
                f"{token!r}; {_OTHER_WORD}"
            )

    async def _first(self, words: Sequence[str]) -> tuple[list[str], TokenUsage]:
        """Return the first token of each word as it is spelled, and what asking consumed."""
        async with self._proving:
            new = [word for word in words if word not in self._proofs]
            usage = NO_USAGE
            if new and self._tokenizes:
                try:
                    found = await asyncio.gather(*map(self._tokenized, new))
                    self._proofs.update(zip(new, found, strict=True))
                    new = []
                except (TeacherRejected, TeacherGarbled):
                    self._tokenizes = False
            for word in new:
                self._proofs[word], used = await self._repeated(word)
                usage += used
        proofs = [self._proofs[word] for word in words]
        return [
            word[: proof.shortest] if proof else word
            for word, proof in zip(words, proofs, strict=True)
        ], usage

    async def _tokenized(self, word: str) -> _Proof:
        """First tokens as `/tokenize` gives them, in the spellings that a model may choose."""
        spellings = list(dict.fromkeys([word, word.capitalize(), word.upper(), word.lower()]))
        tokens = []
        for spelled in spellings:
            body = {
                "model": self._model,
                "prompt": spelled,
                "add_special_tokens": False,
                "return_token_strs": True,
            }
            reply = await self._client.post(self._tokenize_url, body)
            strings = reply.get("token_strs")
            if not isinstance(strings, list) or not strings or not all(strings):
                raise TeacherGarbled(f"{self._tokenize_url} gives no token_strs")
            tokens.append(_readable(str(strings[0]), spelled))
        return _Proof(len(tokens[0]), frozenset(tokens))

    async def _repeated(self, word: str) -> tuple[_Proof, TokenUsage]:
        """First token as the model writes the word when told to repeat it."""
        ask = f"Repeat this word exactly, and write nothing else: {word}"
        body = {**self._body, "messages": [{"role": "user", "content": ask}]}
        reply = await self._client.post(self._chat_url, body)
        usage = usage_of(reply)
        try:
            content = reply["choices"][0]["logprobs"]["content"]
            tokens = [str(position["token"]) for position in content]
        except (KeyError, IndexError, TypeError):
            raise TeacherGarbled(f"{self._chat_url} gives no logprobs", usage=usage) from None
        while tokens and not tokens[0].strip():
            tokens.pop(0)
        written = "".join(tokens).strip().casefold()
        if not tokens or not written.startswith(word.casefold()):
            raise TeacherRejected(
                f"the server has no /tokenize and did not repeat the word {word!r} (it wrote "
                f"{written!r}), so its first tokens cannot be checked; use answers with different "
                "first letters in teacher.answers",
                usage=usage,
            )
        first = tokens[0].strip()
        return _Proof(len(first), frozenset([first])), usage


def is_mark(token: str) -> bool:
    """Whether a token is blank, or only quotes and markdown: what may stand before an answer."""
    return not token.strip().strip(OPENING)


def _beginning(token: str, word: str) -> str:
    """What of a token begins the word, whatever its case and the marks before it; or nothing."""
    bare = token.strip()
    for said in (bare, bare.lstrip(OPENING)):
        if said and word.casefold().startswith(said.casefold()):
            return said
    return ""


def _readable(token: str, word: str) -> str:
    """The text of the first token of a word, as `/tokenize` spells tokens.

    SentencePiece writes a leading space as ▁. Byte-level vocabularies write one as Ġ, and every
    byte as one character; of a character that is cut, the whole counts.
    """
    plain = token.lstrip("Ġ▁ ")
    if word.startswith(plain):
        return plain
    content = bytes(_BYTES[c] for c in token if c in _BYTES)
    return content.decode("utf-8", "ignore").strip() or word[:1]


_SHOWN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(0x100) if byte not in _SHOWN]
_BYTES = {chr(byte): byte for byte in _SHOWN} | {chr(0x100 + i): b for i, b in enumerate(_HIDDEN)}
"""What each character of a byte-level vocabulary stands for (GPT-2's table)."""


def _collision(words: Sequence[str], first: Sequence[str]) -> tuple[str, str, str] | None:
    for word, token in zip(words, first, strict=True):
        start = token.strip().casefold()
        for other in words:
            if other != word and other.casefold().startswith(start):
                return word, other, token
    return None
