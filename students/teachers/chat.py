"""A chat model whose answer's token probabilities are read: logprobs of one word per label.

What is read is the teacher's distribution over its first answer token. The contract, checked
against the real server: each label's word begins with a token of its own; case and spacing do not
matter; a label outside the top-k is bounded, never minus infinity; probability that went to
anything else is kept as `other`; a model that thinks before it answers is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from students.errors import TeacherGarbled, TeacherRejected
from students.labels import LabelDistribution
from students.task import Task
from students.teachers.client import TeacherClient, billed, openai_url, server_url, usage_of
from students.teachers.protocol import TeacherDescriptor, TeacherReply
from students.teachers.template import prompt_sha256, render
from students.teachers.tokens import prove_distinct

_PROBE = "Is this a test?"
_REASONING = (
    "the teacher thinks before it answers, so its first token is no answer; switch that off, e.g. "
    "teacher.extra_body: {chat_template_kwargs: {enable_thinking: false}}"
)


class ChatTeacher:
    """POST /v1/chat/completions with logprobs, one text a request."""

    def __init__(self, task: Task, client: TeacherClient | None = None) -> None:
        self.schema = task.schema_
        section = task.teacher
        self._section = section
        self._words = task.answers
        self._prompt = section.prompt
        parameters = {
            "max_tokens": section.max_tokens,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": section.top_logprobs,
            **section.extra_body,
        }
        if "max_completion_tokens" in section.extra_body:
            del parameters["max_tokens"]
        self.descriptor = TeacherDescriptor(
            mode="chat",
            model=section.model,
            revision=section.revision,
            prompt_sha256=prompt_sha256(self._prompt, self._words),
            parameters=json.dumps(parameters, sort_keys=True),
        )
        self._body = {"model": section.model, **parameters}
        self._url = openai_url(section, "/chat/completions")
        self._client = client or TeacherClient(section)

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Ask about each text in turn; send one text a call to keep what was answered."""
        return [await self._ask(text, timeout_s) for text in texts]

    async def check(self) -> None:
        """Prove that the words can be told apart by their first token, then ask one question."""
        await prove_distinct(
            self._words,
            self._client,
            model=self._section.model,
            tokenize_url=server_url(self._section, "/tokenize"),
            chat_url=self._url,
            body={**self._body, "max_tokens": 8}
            if "max_tokens" in self._body
            else {**self._body, "max_completion_tokens": 8},
        )
        await self._ask(_PROBE, None)

    async def aclose(self) -> None:
        """Close the connection pool."""
        await self._client.aclose()

    async def _ask(self, text: str, timeout_s: float | None) -> TeacherReply:
        body = {**self._body, "messages": render(self._prompt, text)}
        reply = await self._client.post(self._url, body, timeout_s)
        usage = usage_of(reply)
        with billed(usage):
            choice = first_choice(reply)
            refuse_reasoning(reply, choice)
            distribution = read_distribution(answer_token(choice), self._words)
        word = self._words[distribution.argmax]
        said = str(choice["message"].get("content") or "").strip()
        # With one token to speak, a longer word is cut: complete it, keep anything else as said.
        cut = not said or word.casefold().startswith(said.casefold())
        raw = json.dumps(choice, separators=(",", ":"))
        return TeacherReply(distribution, usage, word if cut else said, raw)


def first_choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices[0] with its message.

    Raises:
        TeacherGarbled: not a chat completion.
        TeacherRejected: the provider's filter stopped the answer.
    """
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise TeacherGarbled("the reply has no choices; is this a chat completions server?")
    choice: dict[str, Any] = choices[0]
    if choice.get("finish_reason") == "content_filter":
        raise TeacherRejected("the provider's content filter stopped the answer")
    if not isinstance(choice.get("message"), dict):
        raise TeacherGarbled("the reply's first choice has no message")
    return choice


def refuse_reasoning(reply: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
    """Raise TeacherRejected if the model reasoned before the answer."""
    message = choice["message"]
    details = (reply.get("usage") or {}).get("completion_tokens_details") or {}
    content = str(message.get("content") or "").lstrip()
    if (
        message.get("reasoning_content")
        or message.get("reasoning")
        or details.get("reasoning_tokens")
        or content.startswith(("<think", "<|channel|>", "◁think"))
    ):
        raise TeacherRejected(_REASONING)


def answer_token(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return (token, log-probability) of the candidates at the answer's position.

    Leading tokens of white space are no answer and are passed over.

    Raises:
        TeacherGarbled: no logprobs, or nothing but white space.
    """
    content = (choice.get("logprobs") or {}).get("content")
    if not isinstance(content, list) or not content:
        raise TeacherGarbled(
            "the reply has no logprobs; use a server that gives them, or teacher.mode: text"
        )
    try:
        for position in content:
            if not str(position["token"]).strip():
                continue
            listed = position.get("top_logprobs") or [position]
            return [(str(item["token"]), float(item["logprob"])) for item in listed]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TeacherGarbled("the reply's logprobs are not in OpenAI's shape") from None
    raise TeacherGarbled(
        "the teacher began with white space and was cut; raise teacher.max_tokens to 2 or more"
    )


def read_distribution(
    listed: Sequence[tuple[str, float]], words: Sequence[str]
) -> LabelDistribution:
    """Turn the top-k tokens into (p_1..p_K, p_other).

    A token counts for a label when it begins that label's word and no other, whatever its case and
    leading space; such variants are summed. With S the listed probability and m the smallest
    listed one, a label without a token can have at most min(m, 1 - S), and all such labels
    together at most 1 - S: that bound is stored and the answer flagged truncated.
    """
    mass = [math.exp(min(0.0, logprob)) for _, logprob in listed]
    p = [0.0] * len(words)
    folded = [word.casefold() for word in words]
    for (token, _), m in zip(listed, mass, strict=True):
        begun = _begins(token, folded)
        if begun is not None:
            p[begun] += m
    missing = [k for k, probability in enumerate(p) if probability == 0.0]
    rest = max(0.0, 1.0 - sum(mass))
    if missing and mass:
        bound = min(min(mass), rest / len(missing))
        for k in missing:
            p[k] = bound
    total = sum(p)
    if total > 1.0:
        p = [probability / total for probability in p]
    return LabelDistribution(tuple(p), max(0.0, 1.0 - total), truncated=bool(missing))


def _begins(token: str, folded: Sequence[str]) -> int | None:
    start = token.strip().casefold()
    if not start:
        return None
    begun = [k for k, word in enumerate(folded) if word.startswith(start)]
    return begun[0] if len(begun) == 1 else None
