"""A call of the Responses API as the chat completion that asks the same.

Both are then recognised by one rule. What has no counterpart keeps its name, so that a field at its
neutral value says nothing here either, and any other is named in `x-raisehand-why`.
"""

from __future__ import annotations

from typing import Any

ENCRYPTED_REASONING = "reasoning.encrypted_content"
"""Asked for by SDKs as a habit; where a student answers there is no reasoning to encrypt."""


class NoChat(Exception):
    """The call asks for what no chat completion could; names the field, or is empty."""


def as_chat(given: dict[str, Any]) -> dict[str, Any]:
    """Put a decoded body into the words of chat completions.

    Raises:
        NoChat: it holds what they do not know: files, earlier answers, a place to be stored.
    """
    chat = dict(given)
    chat["messages"] = _messages(chat.pop("instructions", None), chat.pop("input", None))
    chat["max_completion_tokens"] = chat.pop("max_output_tokens", None)
    if chat.pop("store", None) is True:
        raise NoChat("store")  # it is to be found again by its id, at the teacher
    include = chat.pop("include", None)
    if isinstance(include, list):
        include = [name for name in include if name != ENCRYPTED_REASONING]
    chat["include"] = include
    text = chat.pop("text", None) or {}
    if not isinstance(text, dict) or not text.keys() <= {"format", "verbosity"}:
        raise NoChat("text")
    chat["response_format"] = _format(text.get("format"))
    chat["tools"] = [_nested(tool) for tool in _listed(chat.get("tools"), "tools")]
    if isinstance(choice := chat.get("tool_choice"), dict):
        chat["tool_choice"] = _nested(choice)
    return chat


def _messages(instructions: Any, said: Any) -> list[dict[str, Any]]:
    messages = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(said, str):
        return [*messages, {"role": "user", "content": said}]
    return messages + [_message(item) for item in _listed(said, "input")]


def _message(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("type") not in (None, "message"):
        raise NoChat("input")
    content = item.get("content")
    if isinstance(content, list):
        content = [_part(part) for part in content]
    rest = {name: item[name] for name in item.keys() - {"type", "content", "id", "status"}}
    return rest | {"content": content}


def _part(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") == "input_text":
        return {"type": "text", "text": part.get("text")}
    raise NoChat("input")


def _format(of: Any) -> Any:
    """Nest a schema as chat completions do."""
    if isinstance(of, dict) and of.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {k: of[k] for k in of.keys() - {"type"}}}
    return of


def _nested(tool: Any) -> Any:
    """Nest a function as chat completions do; of other tools they know nothing."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise NoChat("tools")
    return {"type": "function", "function": {k: tool[k] for k in tool.keys() - {"type"}}}


def _listed(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise NoChat(name)
    return value
