"""The fake's Batch API is what OpenAI's own client takes for one."""

import json

import openai
import pytest


@pytest.fixture
def client(server):
    """OpenAI's client, as it is sold."""
    with openai.OpenAI(base_url=server.url, api_key="unused", max_retries=0) as client:
        yield client


def _lines(*texts):
    body = {"model": "m", "logprobs": True, "top_logprobs": 2}
    rows = [
        {
            "custom_id": text, "method": "POST", "url": "/v1/chat/completions",
            "body": {**body, "messages": [{"role": "user", "content": text}]},
        }
        for text in texts
    ]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _made(client, content):
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"job": "7"},
    )


def _read(client, file):
    return {
        row["custom_id"]: row for row in map(json.loads, client.files.content(file).iter_lines())
    }


def test_a_batch_from_file_to_file(client, server, turn):
    """Upload, create, look, fetch: answers by custom_id, in whatever order, billed once."""
    turn(batch_s=0.3)
    batch = _made(client, _lines("help me ä", "all is well\r", "help"))
    assert batch.status == "in_progress"
    assert client.batches.list().data[0].metadata == {"job": "7"}
    while batch.status != "completed":
        batch = client.batches.retrieve(batch.id)
    assert batch.request_counts.total == batch.request_counts.completed == 3
    answers = _read(client, batch.output_file_id)
    said = {
        key: row["response"]["body"]["choices"][0]["message"]["content"]
        for key, row in answers.items()
    }
    assert said == {"help me ä": "urgent", "all is well\r": "calm", "help": "urgent"}
    client.batches.retrieve(batch.id)
    assert server.served["batch_lines"] == server.served["texts"] == 3


def test_lines_that_fail_are_in_the_error_file(client, turn):
    """Failed and unreached lines are told apart; answered ones are there all the same."""
    turn(batch_line_error_rate=0.5, batch_expired_rate=0.5)
    batch = client.batches.retrieve(_made(client, _lines(*map(str, range(40)))).id)
    assert batch.status == "expired"
    errors, answers = _read(client, batch.error_file_id), _read(client, batch.output_file_id)
    assert len(errors) + len(answers) == 40
    assert batch.request_counts.failed == len(errors)
    assert errors["39"]["error"]["code"] == "batch_expired"
    assert {row["response"]["status_code"] for row in errors.values() if row["response"]} == {500}


def test_what_is_no_batch_is_refused(client, turn):
    """Unknown files, cancelled and refused batches, as the client's own errors and states."""
    with pytest.raises(openai.NotFoundError):
        client.batches.create(
            input_file_id="none", endpoint="/v1/chat/completions", completion_window="24h"
        )
    turn(batch_s=60)
    assert client.batches.cancel(_made(client, _lines("a", "b")).id).status == "cancelled"
    turn(batch_s=0, batch_refused=True)
    refused = client.batches.retrieve(_made(client, _lines("a")).id)
    assert refused.status == "failed"
    assert refused.errors.data[0].message == "the file is refused"
