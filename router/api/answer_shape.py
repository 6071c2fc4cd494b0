"""In which form a label is wanted: the bare word, JSON by a schema, or a forced tool call.

Structured classification is a way to ask for one of a few words: an enum of a JSON schema, or the
only argument of a tool that must be called. The student answers it where every value of the enum is
a label of the task and every label is a value: then nothing else could have been said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

NESTED = 8
"""Schemas within schemas that are followed; no program writes more around one word."""


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
    in_words = _in_words(kind, response_format, labels, words, json_key)
    if tools and tool_choice != "none":
        return _tool(tools, tool_choice, labels, words)
    return in_words


def _in_words(
    kind: Any, response_format: Any, labels: Sequence[str], words: Sequence[str], key: str | None
) -> Shape | None:
    """Return the shape of what is said where no function is called; None for the bare word."""
    if kind in (None, "text"):
        return None
    if kind == "json_object" and key is not None:
        return Shape(tuple(words), key)
    if kind != "json_schema" or not isinstance(response_format, dict):
        raise OtherShape("response_format")
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    found = _of_schema(schema, labels, words)
    if found is None:
        raise OtherShape("response_format")
    return found


def _tool(tools: Any, choice: Any, labels: Sequence[str], words: Sequence[str]) -> Shape:
    """Return the shape of the one function that must be called."""
    functions = {}
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise OtherShape("tools")
        functions[function["name"]] = function
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
    schema = _meant(schema, root)
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
    values = _values(of, root, labels, words)
    return None if values is None else Shape(values, key)


def _values(
    schema: Any, root: dict[str, Any], labels: Sequence[str], words: Sequence[str]
) -> tuple[str, ...] | None:
    """Return the enum's value for each label; None unless they match one to one."""
    allowed = _allowed(schema, root)
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


def _allowed(schema: Any, root: dict[str, Any]) -> list[str] | None:
    """Return all strings that a schema allows, however it says so; None where others may be."""
    schema = _meant(schema, root)
    if not isinstance(schema, dict):
        return None
    if (values := _named(schema)) is None:
        # no unions of unions: references could make few bytes stand for very many of them
        parts = [_named(_meant(part, root)) for part in _parts(schema) or []]
        values = None if None in parts else [value for part in parts for value in part or []]
    return values if values and all(isinstance(value, str) for value in values) else None


def _named(schema: Any) -> list[Any] | None:
    """Return the values that a schema names; None where it names none."""
    if not isinstance(schema, dict):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) else None


def _parts(schema: dict[str, Any]) -> list[Any] | None:
    """Return what a union is of, in either of the two words for it."""
    unions = [schema[word] for word in ("anyOf", "oneOf") if word in schema]
    return unions[0] if len(unions) == 1 and isinstance(unions[0], list) else None


def _meant(schema: Any, root: dict[str, Any]) -> Any:
    """Follow what only points at another schema: a `$ref`, and a union or an `allOf` of one."""
    for _ in range(NESTED):
        if not isinstance(schema, dict):
            break
        only = schema.get("allOf", _parts(schema))
        if isinstance(only, list) and len(only) == 1:
            [schema] = only
        elif isinstance(where := schema.get("$ref"), str) and where.startswith("#/"):
            schema = root
            for part in where[2:].split("/"):
                schema = schema.get(part) if isinstance(schema, dict) else None
        else:
            break
    return schema
