"""What the rows of each kind of log mean: LiteLLM, Langfuse, OpenAI, OpenTelemetry, OpenInference.

Each reader takes a row and returns a call, why it is passed over, or None where the row is of
another kind. Field names are those of the tools' own exports; where versions differ, all are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from costmodel.inputs.tables.times import seconds_of
from students.assess.call import (
    FAILED,
    FROM_CACHE,
    NO_MODEL_CALL,
    TOOLS,
    LoggedCall,
    Passed,
    one_turn,
)
from students.errors import TeacherError
from students.teachers.completion import answer_token

Row = Mapping[str, Any]
Read = LoggedCall | Passed | None


def litellm(row: Row) -> Read:
    """A row of LiteLLM's spend logs, or a StandardLoggingPayload."""
    if "call_type" not in row or not ("spend" in row or "response_cost" in row):
        return None
    if str(row.get("status") or "success").lower() not in ("success", "ok"):
        return FAILED
    if str(row.get("cache_hit")).lower() == "true":
        return FROM_CACHE
    if "completion" not in str(row["call_type"]):
        return NO_MODEL_CALL
    sent = _parsed(row.get("proxy_server_request"))
    messages = _parsed(row.get("messages")) or (sent or {}).get("messages")
    response = _parsed(row.get("response")) or {}
    usd = _number(row.get("response_cost", row.get("spend")))
    return _completion(
        messages,
        response,
        model=str(row.get("model") or ""),
        at=_time(row.get("startTime")),
        usd=usd or None,  # 0 is what it writes where it knows no price
        counted=row,
        base_url=str(row.get("api_base") or ""),
    )


def langfuse(row: Row) -> Read:
    """An observation of Langfuse: from blob storage in snake case, from its API in camel case."""
    if "type" not in row or not _first(row, "traceId", "trace_id"):
        return None
    if str(row["type"]).upper() != "GENERATION":
        return NO_MODEL_CALL
    if str(row.get("level") or "").upper() == "ERROR":
        return FAILED
    usage = _parsed(_first(row, "usageDetails", "usage_details", "usage")) or {}
    asked, said = _parsed(row.get("input")), _parsed(row.get("output"))
    if isinstance(asked, dict):
        asked = asked.get("messages")
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    if isinstance(said, dict):
        if said.get("tool_calls"):
            return TOOLS
        said = said.get("content", said if "choices" not in said else _said(said))
    if isinstance(said, dict):
        said = json.dumps(said, ensure_ascii=False)
    return one_turn(
        asked,
        said,
        model=str(_first(row, "providedModelName", "provided_model_name", "model") or ""),
        at=_time(_first(row, "startTime", "start_time")),
        usd=_number(_first(row, "totalCost", "total_cost", "calculatedTotalCost")),
        input_tokens=_count(usage, "input", "promptTokens", "prompt_tokens"),
        cached_tokens=_count(usage, "input_cached_tokens", "cache_read_input_tokens"),
        output_tokens=_count(usage, "output", "completionTokens", "completion_tokens"),
    )


def stored_completion(row: Row) -> Read:
    """A chat completion that OpenAI stored; its messages come from another call of the API."""
    if row.get("object") != "chat.completion" or "choices" not in row:
        return None
    return _completion(
        _parsed(row.get("messages")) or _parsed(row.get("input")),
        dict(row),
        model=str(row.get("model") or ""),
        at=_time(row.get("created")),
    )


def batch_pair(asked: Row, answered: Row) -> LoggedCall | Passed:
    """A line of a batch's input with the line of its output of the same custom_id."""
    response = answered.get("response") or {}
    if answered.get("error") or response.get("status_code") != 200:
        return FAILED
    body = response.get("body") or {}
    return _completion(
        (asked.get("body") or {}).get("messages"),
        body,
        model=str(body.get("model") or ""),
        at=_time(body.get("created")),
    )


def open_telemetry(row: Row) -> Read:
    """A span of the GenAI conventions, from OTLP JSON or flattened."""
    given = attributes(row)
    if not any(name.startswith("gen_ai.") for name in given):
        return None
    if given.get("gen_ai.operation.name") not in (None, "chat", "text_completion"):
        return NO_MODEL_CALL
    if str((row.get("status") or {}).get("code", "")) in ("2", "STATUS_CODE_ERROR"):
        return FAILED
    asked = _parsed(given.get("gen_ai.input.messages")) or []
    system = _parsed(given.get("gen_ai.system_instructions"))
    messages = [{"role": m.get("role"), "content": _parts(m)} for m in asked]
    if system:
        messages.insert(0, {"role": "system", "content": _parts({"parts": system})})
    said = _parsed(given.get("gen_ai.output.messages")) or []
    read = _count(given, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
    return one_turn(
        messages,
        _parts(said[0]) if said else None,
        model=str(_first(given, "gen_ai.response.model", "gen_ai.request.model") or ""),
        at=_nanoseconds(row.get("startTimeUnixNano")) or _time(row.get("start_time")),
        input_tokens=read,
        cached_tokens=_count(given, "gen_ai.usage.cache_read.input_tokens"),
        output_tokens=_count(given, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    )


def open_inference(row: Row) -> Read:
    """A span of OpenInference (Phoenix), its lists by index or nested."""
    given = attributes(row)
    if "openinference.span.kind" not in given:
        return None
    if given["openinference.span.kind"] != "LLM":
        return NO_MODEL_CALL
    if str((row.get("status") or {}).get("code", row.get("status_code", ""))).upper() in (
        "2", "ERROR", "STATUS_CODE_ERROR",
    ):  # fmt: skip
        return FAILED
    messages, said = _indexed(given, "llm.input_messages"), _indexed(given, "llm.output_messages")
    return one_turn(
        messages,
        said[0].get("content") if said else None,
        model=str(given.get("llm.model_name") or ""),
        at=_nanoseconds(row.get("startTimeUnixNano")) or _time(row.get("start_time")),
        usd=_number(given.get("llm.cost.total")),
        input_tokens=_count(given, "llm.token_count.prompt"),
        cached_tokens=_count(given, "llm.token_count.prompt_details.cache_read"),
        output_tokens=_count(given, "llm.token_count.completion"),
    )


READERS: Mapping[str, Callable[[Row], Read]] = {
    "LiteLLM": litellm,
    "OpenInference": open_inference,
    "OpenTelemetry GenAI": open_telemetry,
    "Langfuse": langfuse,
    "OpenAI stored completions": stored_completion,
}


def attributes(row: Row) -> dict[str, Any]:
    """Return a span's attributes by dotted name, whatever form the export gives them."""
    given = _parsed(row.get("attributes"))
    if isinstance(given, list):  # OTLP: [{key, value: {stringValue: …}}]
        return {one["key"]: _any_value(one.get("value") or {}) for one in given if "key" in one}
    flat: dict[str, Any] = {}
    _flatten(given if isinstance(given, dict) else row, "", flat)
    return {name.removeprefix("attributes."): value for name, value in flat.items()}


def spans(row: Row) -> list[Row]:
    """Return the spans of an OTLP envelope; the row itself where it is none."""
    if "resourceSpans" not in row:
        return [row]
    return [
        span
        for resource in row["resourceSpans"]
        for scope in resource.get("scopeSpans") or []
        for span in scope.get("spans") or []
    ]


def _completion(
    messages: object, body: Mapping[str, Any], *, counted: Row | None = None, **known: Any
) -> LoggedCall | Passed:
    """A call whose answer is an OpenAI chat completion."""
    choices = body.get("choices") or [{}]
    message = choices[0].get("message") or {}
    if message.get("tool_calls") or message.get("function_call"):
        return TOOLS
    usage = body.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    fallback = counted or {}
    if body.get("model"):
        known["model"] = str(body["model"])
    return one_turn(
        messages,
        message.get("content"),
        input_tokens=_count(usage, "prompt_tokens") or _count(fallback, "prompt_tokens"),
        cached_tokens=_count(details, "cached_tokens"),
        output_tokens=_count(usage, "completion_tokens") or _count(fallback, "completion_tokens"),
        first=_candidates(choices[0]),
        **known,
    )


def _candidates(choice: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """What the first word of the answer could have been, where `logprobs` were asked for."""
    try:
        return tuple(answer_token(choice))
    except TeacherError:
        return ()


def _said(body: Mapping[str, Any]) -> object:
    choices = body.get("choices") or [{}]
    return (choices[0].get("message") or {}).get("content")


def _parts(message: Mapping[str, Any]) -> str:
    """The text of a message of OpenTelemetry: its parts of type text, one after the other."""
    if isinstance(message.get("content"), str):
        return str(message["content"])
    parts = message.get("parts") or []
    return "".join(str(p.get("content") or "") for p in parts if p.get("type", "text") == "text")


def _indexed(given: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The messages of `name.{i}.message.{field}`, in order."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in given.items():
        if key.startswith(name + "."):
            index, _, field = key[len(name) + 1 :].partition(".message.")
            if index.isdigit() and field:
                found.setdefault(int(index), {})[field] = value
    return [found[i] for i in sorted(found)]


def _any_value(value: Mapping[str, Any]) -> Any:
    kind, content = next(iter(value.items()), ("", None))
    if kind == "intValue":
        return int(str(content))
    if kind == "arrayValue":
        return [_any_value(one) for one in (content or {}).get("values") or []]
    if kind == "kvlistValue":
        pairs = (content or {}).get("values") or []
        return {one["key"]: _any_value(one.get("value") or {}) for one in pairs}
    return content


def _flatten(value: Any, name: str, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else str(key), into)
    elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
        whole = any(part in name for part in ("gen_ai.", "gen_ai"))
        if whole:
            into[name] = value
        for i, inner in enumerate(value):
            _flatten(inner, f"{name}.{i}", into)
    elif value is not None:
        into[name] = value


def _parsed(value: object) -> Any:
    """JSON text as what it says; anything else, and text that is none, as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            return json.loads(value)
    return value


def _first(row: Row, *names: str) -> Any:
    return next((row[n] for n in names if row.get(n) not in (None, "")), None)


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _count(row: Row, *names: str) -> int:
    return int(_number(_first(row, *names)) or 0)


def _time(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        return seconds_of(str(value))
    except ValueError:
        return None


def _nanoseconds(value: object) -> float | None:
    number = _number(value) if value is not None else None
    return None if number is None else number / 1e9
