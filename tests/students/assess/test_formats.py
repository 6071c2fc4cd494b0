"""One call is read the same out of every kind of log, and what is no answer is passed over."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from students.assess.call import LoggedCall
from students.assess.log import read_log
from students.errors import BadInputs

MESSAGES = [
    {"role": "system", "content": "Say urgent or not."},
    {"role": "user", "content": "Message: help"},
]
BODY = {
    "object": "chat.completion",
    "created": 1760000000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"message": {"role": "assistant", "content": "urgent"}}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 40},
    },
}
CALL = LoggedCall(
    "Say urgent or not.", "Message: help", "urgent", "gpt-4o-2024-08-06", 1760000000.0, 100, 40, 2
)


def _any(value):
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _otlp(attributes, code=1):
    span = {
        "startTimeUnixNano": "1760000000000000000",
        "status": {"code": code},
        "attributes": [{"key": k, "value": _any(v)} for k, v in attributes.items()],
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


LITELLM = {
    "request_id": "r", "call_type": "acompletion", "status": "success", "cache_hit": "False",
    "spend": 0.0, "prompt_tokens": 100, "completion_tokens": 2, "model": "gpt-4o",
    "startTime": "2025-10-09 08:53:20", "messages": MESSAGES, "response": BODY,
}  # fmt: skip
STORED = {"messages": {}, "proxy_server_request": json.dumps({"messages": MESSAGES})}
GENERATION = {
    "type": "GENERATION", "trace_id": "t", "start_time": "2025-10-09 08:53:20.000000",
    "provided_model_name": "gpt-4o-2024-08-06", "input": json.dumps(MESSAGES), "output": "urgent",
    "usage_details": json.dumps({"input": 100, "output": 2, "input_cached_tokens": 40}),
}  # fmt: skip
CAMEL = {
    "type": "GENERATION", "traceId": "t", "startTime": "2025-10-09T08:53:20Z",
    "model": "gpt-4o-2024-08-06", "input": {"messages": MESSAGES},
    "output": {"role": "assistant", "content": "urgent"},
    "usageDetails": {"input": 100, "output": 2, "cache_read_input_tokens": 40},
}  # fmt: skip
GENAI = {
    "gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Say urgent or not."}]),
    "gen_ai.input.messages": json.dumps(
        [{"role": "user", "parts": [{"type": "text", "content": "Message: help"}]}]
    ),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "urgent"}]}]
    ),
    "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 2,
    "gen_ai.usage.cache_read.input_tokens": 40,
}  # fmt: skip
PHOENIX = {
    "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-2024-08-06",
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Say urgent or not.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.content": "Message: help",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "urgent",
    "llm.token_count.prompt": 100, "llm.token_count.completion": 2,
    "llm.token_count.prompt_details.cache_read": 40,
}  # fmt: skip
NESTED = {
    "start_time": "2025-10-09T08:53:20Z",
    "attributes": {
        "openinference": {"span": {"kind": "LLM"}},
        "llm": {
            "model_name": "gpt-4o-2024-08-06",
            "input_messages": [{"message": m} for m in MESSAGES],
            "output_messages": [{"message": {"role": "assistant", "content": "urgent"}}],
            "token_count": {"prompt": 100, "completion": 2, "prompt_details": {"cache_read": 40}},
        },
    },
}
BATCH = [
    {"custom_id": "1", "method": "POST", "body": {"model": "gpt-4o", "messages": MESSAGES}},
    {"custom_id": "1", "response": {"status_code": 200, "body": BODY}, "error": None},
]
ROWS = {
    "litellm": [LITELLM],
    "litellm, prompt in the request": [LITELLM | STORED],
    "langfuse blob": [GENERATION],
    "langfuse api": [CAMEL],
    "otlp genai": [_otlp(GENAI)],
    "otlp openinference": [_otlp(PHOENIX)],
    "phoenix nested": [NESTED],
    "stored completion": [BODY | {"messages": MESSAGES}],
    "batch": BATCH,
}


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_every_kind_of_log_says_the_same(tmp_path, rows):
    """Prompt, answer, model as answered, time and tokens, whatever the tool calls them."""
    log = read_log([_write(tmp_path / "log.jsonl", rows)])
    assert log.calls == [CALL]
    assert not log.passed


def test_json_csv_and_parquet_hold_the_same_rows(tmp_path):
    """Exports come as lines, as one object, as a table of strings, as columns."""
    (tmp_path / "a.json").write_text(json.dumps({"data": [CAMEL]}), "utf-8")
    with (tmp_path / "b.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, GENERATION)
        writer.writeheader()
        writer.writerow(GENERATION)
    pq.write_table(pa.Table.from_pylist([GENERATION]), tmp_path / "c.parquet")
    assert read_log([tmp_path]).calls == [CALL] * 3


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (LITELLM | {"cache_hit": "True"}, "answered from the gateway's cache"),
        (LITELLM | {"status": "failure"}, "failed calls"),
        (LITELLM | {"messages": {}, "response": {}}, "calls whose prompt or answer was not stored"),
        (LITELLM | {"call_type": "aembedding"}, "rows that are no model's answer"),
        (GENERATION | {"type": "SPAN"}, "rows that are no model's answer"),
        (GENERATION | {"level": "ERROR"}, "failed calls"),
        (_otlp(GENAI, code=2), "failed calls"),
        (BODY, "calls whose prompt or answer was not stored"),
        (
            LITELLM | {"messages": [*MESSAGES, {"role": "assistant", "content": "?"}, MESSAGES[1]]},
            "conversations of several turns",
        ),
        (
            LITELLM | {"response": {"choices": [{"message": {"tool_calls": [{}]}}]}},
            "calls that ended in a tool call",
        ),
    ],
)
def test_what_is_no_answer_is_counted_and_not_learnt(tmp_path, row, why):
    """A cache's answer, a failure, a conversation: none is the teacher's word for a text."""
    log = read_log([_write(tmp_path / "log.jsonl", [row])])
    assert log.calls == []
    assert log.passed == {why: 1}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("log.jsonl", '{"a": 1}\n', "none of 1 rows is of a known kind"),
        ("log.jsonl", '{"a": 1}\n{"a"\n', "line 2 is no JSON"),
        ("log.xlsx", "x", "is of no known kind"),
        ("log.parquet", "x", "cannot be read"),
    ],
)
def test_a_file_that_is_no_log_is_one_sentence(tmp_path, name, content, words):
    """What was found, and what is known."""
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(BadInputs, match=words):
        read_log([tmp_path / name])
