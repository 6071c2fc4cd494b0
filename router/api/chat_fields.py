"""What the fields of a chat completion say: which may be left out, which change the question.

One rule for every field of OpenAI's and of vLLM's API: a field at its neutral value (null, [], {}
or the documented default) says nothing and counts as absent. What changes how an answer is sampled,
billed or logged, but not which label is meant, is allowed and not read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

DEFAULTS: dict[str, tuple[Any, ...]] = {
    # OpenAI
    "audio": (),
    "function_call": ("none",),
    "functions": (),
    "logit_bias": (),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "thinking": ({"type": "disabled"},),
    "top_logprobs": (0,),
    "web_search_options": (),
    # OpenAI's Responses
    "background": (False,),
    "context_management": (),
    "conversation": (),
    "include": (),
    "max_tool_calls": (),
    "previous_response_id": (),
    "prompt": (),
    "truncation": ("disabled",),
    # vLLM
    "add_generation_prompt": (True,),
    "add_special_tokens": (False,),
    "allowed_token_ids": (),
    "bad_words": (),
    "best_of": (1,),
    "chat_template": (),
    "chat_template_kwargs": (),
    "continue_final_message": (False,),
    "detokenize": (True,),
    "documents": (),
    "echo": (False,),
    "guided_choice": (),
    "guided_decoding_backend": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "ignore_eos": (False,),
    "include_reasoning": (True,),
    "include_stop_str_in_output": (False,),
    "kv_transfer_params": (),
    "length_penalty": (1,),
    "logits_processors": (),
    "min_tokens": (0,),
    "mm_processor_kwargs": (),
    "prompt_logprobs": (0,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop_token_ids": (),
    "structured_outputs": (),
    "truncate_prompt_tokens": (-1,),
    "use_beam_search": (False,),
}
"""Known fields that would change the question, with the values at which they do not."""

UNREAD = frozenset(
    {
        "cache_salt", "continuous_usage_stats", "min_p", "priority", "prompt_cache_options",
        "prompt_cache_retention", "reasoning", "repetition_penalty", "request_id", "top_k",
    }
)  # fmt: skip
"""Fields, beside those that `ChatRequest` knows, that leave the label as it is."""

MESSAGE_FIELDS = frozenset({"role", "content", "name"})
"""What a message of a task's question may hold; others only at a neutral value."""


def says_nothing(name: str, value: object, ignored: Collection[str] = ()) -> bool:
    """Whether a field may be left out: neutral, not read, or ignored by the task."""
    if value is None or value == [] or value == {} or name in UNREAD or name in ignored:
        return True
    return any(
        value == default and isinstance(value, bool) == isinstance(default, bool)
        for default in DEFAULTS.get(name, ())
    )


def plain_message(message: dict[str, Any]) -> bool:
    """Whether a message is words only: no tool call, no audio, nothing unknown."""
    return MESSAGE_FIELDS.issuperset(message) or all(
        name in MESSAGE_FIELDS or value is None or value == [] or value == {}
        for name, value in message.items()
    )
