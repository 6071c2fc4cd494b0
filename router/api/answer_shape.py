"""In which form a label is wanted: the bare word, JSON by a schema, or a forced tool call.

Structured classification is a way to ask for one of a few words: an enum of a JSON schema, or the
only argument of a tool that must be called. The student answers it where every value of the enum is
a label of the task and every label is a value: then nothing else could have been said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Shape(msgspec.Struct, frozen=True):
    """How a label is put.

    Attributes:
        values: what stands for each label.
        key: the JSON property that holds it; None: the value stands alone.
        tool: the function whose argument it is.
        finish_reason: as the teacher's API would say it.
    """

    values: tuple[str, ...]
    key: str | None = None
    tool: str | None = None
    finish_reason: str = "stop"

    def put(self, label: int) -> str:
        """Return the JSON text that says a label."""
        value = self.values[label]
        content: object = value if self.key is None else {self.key: value}
        return msgspec.json.encode(content).decode()


class OtherShape(Exception):
    """The answer is wanted in a form in which more than a label could be said; names the field."""


def shape_of(
    response_format: Any,
    tools: Any,
    tool_choice: Any,
    labels: Sequence[str],
    words: Sequence[str],
    json_key: str | None,
) -> Shape | None:
    """Return the form that is asked for; None for the bare word.

    Args:
        response_format: as decoded from the request; None where it is absent.
        tools: likewise.
        tool_choice: likewise.
        labels: the task's labels.
        words: the teacher's word for each.
        json_key: the property that `json_object` means for this task, where it has declared one.

    Raises:
        OtherShape: something else than a label of the task could be answered.
    """
    kind = response_format.get("type") if isinstance(response_format, dict) else response_format
    if tools and tool_choice != "none":
        if kind not in (None, "text"):
            raise OtherShape("response_format")
        return _tool(tools, tool_choice, labels, words)
    if kind in (None, "text"):
        return None
    if kind == "json_object" and json_key is not None:
        return Shape(tuple(words), json_key)
    if kind != "json_schema":
        raise OtherShape("response_format")
    schema = (response_format.get("json_schema") or {}).get("schema")
    found = _of_schema(schema, labels, words)
    if found is None:
        raise OtherShape("response_format")
    return found


def _tool(tools: Any, choice: Any, labels: Sequence[str], words: Sequence[str]) -> Shape:
    """Return the shape of the one function that must be called."""
    functions = {
        tool["function"].get("name"): tool["function"]
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    }
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        name, finish = choice["function"].get("name"), "stop"
    elif choice in ("required", "any") and len(functions) == 1:
        [name], finish = functions, "tool_calls"
    else:
        raise OtherShape("tools")
    if not isinstance(name, str) or name not in functions:
        raise OtherShape("tool_choice")
    found = _of_schema(functions[name].get("parameters"), labels, words)
    if found is None or found.key is None:
        raise OtherShape("tools")
    return Shape(found.values, found.key, name, finish)


def _of_schema(schema: Any, labels: Sequence[str], words: Sequence[str]) -> Shape | None:
    """Return the shape of a JSON schema that leaves nothing open but the label."""
    if not isinstance(schema, dict):
        return None
    root = schema
    schema = _resolved(schema, root)
    if not isinstance(schema, dict):
        return None
    if "properties" not in schema:
        values = _values(schema, root, labels, words)
        return None if values is None else Shape(values)
    properties = schema["properties"]
    if not isinstance(properties, dict) or len(properties) != 1:
        return None
    [(key, of)] = properties.items()
    if schema.get("required") != [key]:
        return None  # it might be left out
    values = _values(_resolved(of, root), root, labels, words)
    return None if values is None else Shape(values, key)


def _values(
    schema: Any, root: dict[str, Any], labels: Sequence[str], words: Sequence[str]
) -> tuple[str, ...] | None:
    """Return the enum's value for each label; None unless they match one to one."""
    allowed = _enum(schema, root)
    if allowed is None or len(allowed) != len(labels):
        return None
    exact = {value: value for value in allowed}
    loose = {value.casefold(): value for value in allowed}
    found = [
        exact.get(word) or exact.get(label) or loose.get(word.casefold())
        or loose.get(label.casefold())
        for label, word in zip(labels, words, strict=True)
    ]  # fmt: skip
    values = tuple(value for value in found if value is not None)
    return values if len(set(values)) == len(labels) else None


def _enum(schema: Any, root: dict[str, Any]) -> list[str] | None:
    if not isinstance(schema, dict):
        return None
    values = schema.get("enum")
    if values is None and isinstance(schema.get("anyOf"), list):
        parts = [_resolved(part, root) for part in schema["anyOf"]]
        values = [part.get("const") if isinstance(part, dict) else None for part in parts]
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return values
    return None


def _resolved(schema: Any, root: dict[str, Any]) -> Any:
    """Follow a `$ref` into the schema's own definitions (pydantic writes enums so), once."""
    if isinstance(schema, dict) and isinstance(schema.get("allOf"), list):
        [schema] = schema["allOf"] if len(schema["allOf"]) == 1 else [schema]
    where = schema.get("$ref") if isinstance(schema, dict) else None
    if not isinstance(where, str) or not where.startswith("#/"):
        return schema
    found: Any = root
    for part in where[2:].split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found
