"""What an answer of the Responses API is made of, as OpenAI writes it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

DONE, IN_WORK = "completed", "in_progress"


class SaidText(Struct, tag_field="type", tag="output_text"):
    """Words of a message."""

    text: str
    annotations: list[Any] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)


class SaidRefusal(Struct, tag_field="type", tag="refusal"):
    """The teacher would not answer."""

    refusal: str


class SaidMessage(Struct, tag_field="type", tag="message"):
    """A message: the answer in words, or as JSON."""

    id: str
    content: list[SaidText | SaidRefusal]
    status: str = DONE
    role: str = "assistant"


class SaidCall(Struct, tag_field="type", tag="function_call"):
    """The call that was asked for."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: str = DONE


class TokensRead(Struct):
    """Of what was read; the router has no cache of the teacher's."""

    cached_tokens: int = 0


class TokensWritten(Struct):
    """Of what was written; a student does not reason."""

    reasoning_tokens: int = 0


class ResponseTokens(Struct):
    """Tokens, by this API's names."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: TokensRead = field(default_factory=TokensRead)
    output_tokens_details: TokensWritten = field(default_factory=TokensWritten)


class ResponseObject(Struct):
    """The answer to a call of the Responses API; what the caller asked for is said again."""

    id: str
    created_at: int
    model: str
    output: list[SaidMessage | SaidCall]
    usage: ResponseTokens | None
    asked: dict[str, Any]
    status: str = DONE

    def fields(self) -> dict[str, Any]:
        """As it is written."""
        asked = self.asked.get
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": self.status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked("instructions"),
            "max_output_tokens": asked("max_output_tokens"),
            "metadata": asked("metadata") or {},
            "model": self.model,
            "output": self.output,
            "parallel_tool_calls": asked("parallel_tool_calls", True),
            "previous_response_id": None,
            "reasoning": asked("reasoning") or {"effort": None, "summary": None},
            "store": False,  # nothing is kept
            "temperature": asked("temperature"),
            "text": asked("text") or {"format": {"type": "text"}},
            "tool_choice": asked("tool_choice") or "auto",
            "tools": asked("tools") or [],
            "top_p": asked("top_p"),
            "truncation": "disabled",
            "usage": self.usage,
            "user": asked("user"),
        }
