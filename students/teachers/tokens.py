"""Proof that a chat model's first token tells the labels' words apart.

Three proofs, cheapest first: words with different first letters need none, since any first token
is a beginning of its word; a server with `/tokenize` (vLLM, SGLang) shows its tokens; any other
is asked to repeat each word, and its own logprobs show how it cuts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from students.errors import TeacherError, TeacherGarbled, TeacherRejected, TeacherUnavailable
from students.teachers.client import TeacherClient


async def prove_distinct(
    words: Sequence[str],
    client: TeacherClient,
    *,
    model: str,
    tokenize_url: str,
    chat_url: str,
    body: Mapping[str, Any],
) -> None:
    """Return if the first token of each word begins no other word.

    Raises:
        TeacherRejected: it does not, or nothing can show it; names the words and the way out.
        TeacherUnavailable: the server cannot be reached.
    """
    if len({word[0].casefold() for word in words}) == len(words):
        return
    try:
        first = await _tokenized(words, client, model, tokenize_url)
    except TeacherUnavailable:
        raise
    except TeacherError:
        first = await _repeated(words, client, chat_url, body)
    clash = _collision(words, first)
    if clash:
        one, other, token = clash
        raise TeacherRejected(
            f"the answers {one!r} and {other!r} cannot be told apart by the first token {token!r}; "
            "give each label a word of its own start in teacher.answers, e.g. A, B, C, and name "
            "these in the prompt"
        )


def _collision(words: Sequence[str], first: Sequence[str]) -> tuple[str, str, str] | None:
    for word, token in zip(words, first, strict=True):
        start = token.strip().casefold()
        for other in words:
            if other != word and other.casefold().startswith(start):
                return word, other, token
    return None


async def _tokenized(
    words: Sequence[str], client: TeacherClient, model: str, url: str
) -> list[str]:
    """First tokens as `/tokenize` gives them."""

    async def one(word: str) -> str:
        body = {
            "model": model,
            "prompt": word,
            "add_special_tokens": False,
            "return_token_strs": True,
        }
        reply = await client.post(url, body)
        tokens = reply.get("token_strs")
        if not isinstance(tokens, list) or not tokens or not all(tokens):
            raise TeacherGarbled(f"{url} gives no token_strs")
        # Byte-level vocabularies write a leading space as Ġ, SentencePiece as ▁.
        return str(tokens[0]).lstrip("Ġ▁ ")

    return list(await asyncio.gather(*(one(word) for word in words)))


async def _repeated(
    words: Sequence[str], client: TeacherClient, url: str, body: Mapping[str, Any]
) -> list[str]:
    """First tokens as the model writes each word when told to repeat it."""

    async def one(word: str) -> str:
        ask = f"Repeat this word exactly, and write nothing else: {word}"
        reply = await client.post(url, {**body, "messages": [{"role": "user", "content": ask}]})
        try:
            content = reply["choices"][0]["logprobs"]["content"]
            tokens = [str(position["token"]) for position in content]
        except (KeyError, IndexError, TypeError):
            raise TeacherGarbled(f"{url} gives no logprobs") from None
        while tokens and not tokens[0].strip():
            tokens.pop(0)
        written = "".join(tokens).strip().casefold()
        if not tokens or not written.startswith(word.casefold()):
            raise TeacherRejected(
                f"the server has no /tokenize and did not repeat the word {word!r} (it wrote "
                f"{written!r}), so its first tokens cannot be checked; use answers with different "
                "first letters in teacher.answers"
            )
        return tokens[0]

    return list(await asyncio.gather(*(one(word) for word in words)))
