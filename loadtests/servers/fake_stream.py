"""A chat completion as server-sent events."""

from __future__ import annotations

from typing import Any

import msgspec


def stream(
    head: dict[str, Any],
    word: str,
    logprobs: dict[str, Any] | None,
    usage: dict[str, int] | None,
) -> bytes:
    """Return the events of one word that is the whole answer, `usage` in one more where asked."""

    def chunk(delta: dict[str, str], finish: str | None, with_logprobs: bool) -> dict[str, Any]:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": logprobs if with_logprobs else None,
            "finish_reason": finish,
        }
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}

    chunks = [
        chunk({"role": "assistant", "content": ""}, None, False),
        chunk({"content": word}, None, True),
        chunk({}, "stop", False),
    ]
    if usage is not None:
        chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    lines = [b"data: " + msgspec.json.encode(c) + b"\n\n" for c in chunks]
    return b"".join([*lines, b"data: [DONE]\n\n"])
