"""What a reply says it consumed, in whatever names its supplier has for that.

A supplier's bookkeeping never ends a run: what cannot be read is untold, and an untold bill is
estimated by whoever pays it, never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costmodel.money.pricing import TokenUsage

_PLACES = ("usage", "usageMetadata", "usage_metadata")
_READ = (
    "prompt_tokens", "input_tokens", "inputTokens", "promptTokenCount", "prompt_token_count",
    "prompt_eval_count",
)  # fmt: skip
_WRITTEN = (
    "completion_tokens", "output_tokens", "outputTokens", "candidatesTokenCount",
    "candidates_token_count", "eval_count",
)  # fmt: skip
_THOUGHT = ("thoughtsTokenCount", "thoughts_token_count")
"""Beside what was written; elsewhere thoughts are a part of it."""
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_CACHED = (
    "cached_tokens", "prompt_cache_hit_tokens", "cachedContentTokenCount",
    "cached_content_token_count", "cache_read_input_tokens", "cacheReadInputTokens",
)  # fmt: skip
_STORED = ("cache_creation_input_tokens", "cacheWriteInputTokens")
_APART = ("input_tokens", "inputTokens")
"""Who counts input so (Anthropic, Bedrock) counts what passes a cache beside it, not in it."""


def usage_of(reply: Mapping[str, Any]) -> TokenUsage:
    """Read what one reply consumed; what is absent or no number counts 0, see `is_told`."""
    usage = _report(reply)
    details: Mapping[str, Any] = next(
        (usage[name] for name in _DETAILS if isinstance(usage.get(name), Mapping)), {}
    )
    read, written = _first(usage, _READ), _first(usage, _WRITTEN) + _first(usage, _THOUGHT)
    cached = _first(details, _CACHED) or _first(usage, _CACHED)
    stored = _first(usage, _STORED)
    total = _first(usage, _TOTAL)
    if not read:
        read = max(total - written, 0)
    apart = any(name in usage for name in _APART) and not details
    if apart or (cached > read and total != read + written):
        read += cached + stored
    cached = min(cached, read)
    stored = min(stored, read - cached)
    # Some bill thoughts that they count in the total alone.
    return TokenUsage(read, max(written, total - read), cached, cache_write_tokens=stored)


def is_told(usage: TokenUsage) -> bool:
    """Whether a bill says what was consumed: a request that read nothing did not say."""
    return not usage.requests or usage.input_tokens > 0


def reasoning_tokens(reply: Mapping[str, Any]) -> int:
    """How many tokens the model thought before it answered, as far as the bill shows it."""
    usage = _report(reply)
    details = usage.get("completion_tokens_details")
    found = _first(details, ("reasoning_tokens",)) if isinstance(details, Mapping) else 0
    return found or _first(usage, _THOUGHT)


def _report(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    for place in _PLACES:
        report = reply.get(place)
        if isinstance(report, Mapping) and report:
            return report
    return reply if "prompt_eval_count" in reply else {}


def _first(report: Mapping[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        value = report.get(name)
        if value is not None and (count := _count(value)):
            return count
    return 0


def _count(value: object) -> int:
    """A whole number of tokens, however it is written; 0 where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0
    try:
        return max(int(float(value)), 0)
    except (ValueError, OverflowError):
        return 0
