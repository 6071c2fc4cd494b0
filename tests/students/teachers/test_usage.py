"""Every supplier's bill is read, and what is no bill is told from one, never fatal, never free."""

import pytest

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.teachers.usage import is_told, reasoning_tokens, usage_of


@pytest.mark.parametrize(
    ("reply", "usage"),
    [
        (
            {"usage": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32,
                       "prompt_tokens_details": {"cached_tokens": 16}}},
            TokenUsage(30, 2, 16),
        ),
        (
            {"usage": {"input_tokens": 50, "output_tokens": 3,
                       "input_tokens_details": {"cached_tokens": 20}}},
            TokenUsage(50, 3, 20),
        ),
        (  # Anthropic: what passes the cache is counted beside the input
            {"usage": {"input_tokens": 12, "output_tokens": 3, "cache_read_input_tokens": 1800,
                       "cache_creation_input_tokens": 100}},
            TokenUsage(1912, 3, 1800, cache_write_tokens=100),
        ),
        (  # Bedrock
            {"usage": {"inputTokens": 12, "outputTokens": 3, "cacheReadInputTokens": 40}},
            TokenUsage(52, 3, 40),
        ),
        (  # Gemini: thoughts beside what was written
            {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2,
                               "thoughtsTokenCount": 70, "cachedContentTokenCount": 4}},
            TokenUsage(9, 72, 4),
        ),
        (  # DeepSeek
            {"usage": {"prompt_tokens": 30, "completion_tokens": 2, "prompt_cache_hit_tokens": 20,
                       "prompt_cache_miss_tokens": 10}},
            TokenUsage(30, 2, 20),
        ),
        (  # a gateway with Anthropic's names inside OpenAI's count
            {"usage": {"prompt_tokens": 30, "completion_tokens": 2, "cache_read_input_tokens": 20}},
            TokenUsage(30, 2, 20),
        ),
        ({"prompt_eval_count": 7, "eval_count": 2}, TokenUsage(7, 2)),
        (  # thoughts that stand in the total alone
            {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 61}},
            TokenUsage(10, 51),
        ),
        ({"usage": {"total_tokens": 12}}, TokenUsage(12, 0)),
        (  # cached > prompt: counted apart, or clipped where the total says otherwise
            {"usage": {"prompt_tokens": 12, "completion_tokens": 1,
                       "prompt_tokens_details": {"cached_tokens": 1800}}},
            TokenUsage(1812, 1, 1800),
        ),
        (
            {"usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13,
                       "prompt_tokens_details": {"cached_tokens": 1800}}},
            TokenUsage(12, 1, 12),
        ),
        ({"usage": {"prompt_tokens": "12", "completion_tokens": 1.0}}, TokenUsage(12, 1)),
    ],
)  # fmt: skip
def test_every_suppliers_names_are_read(reply, usage):
    """More cached than read ended labelling and serving; other names were a bill of nothing."""
    assert usage_of(reply) == usage
    assert is_told(usage)


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], "many", {"prompt_tokens": None}, {"prompt_tokens": 0, "completion_tokens": 0},
     {"prompt_tokens": "x"}, {"prompt_tokens": -5}, {"prompt_tokens": True},
     {"prompt_tokens": float("nan")}, {"tokens": 7}, {"prompt_tokens_details": "none"}],
)  # fmt: skip
def test_what_says_nothing_is_untold_not_free(usage):
    """Absent, null, zero or in unknown names: whoever pays estimates it."""
    found = usage_of({"usage": usage})
    assert found == TokenUsage()
    assert not is_told(found)


def test_a_call_that_was_never_served_is_told_to_be_free():
    """A refused connection consumed nothing, and that is known."""
    assert is_told(NO_USAGE)


def test_thoughts_are_seen_on_any_bill():
    """Where only a first token is read, thinking is refused whoever counts it."""
    told = {"usage": {"completion_tokens_details": {"reasoning_tokens": 5}}}
    assert reasoning_tokens(told) == 5
    assert reasoning_tokens({"usageMetadata": {"thoughtsTokenCount": 7}}) == 7
    assert reasoning_tokens({"usage": {"completion_tokens_details": None}}) == 0
