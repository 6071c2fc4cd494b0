"""Calls are read where they are kept, page by page, and nothing there changes."""

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg import sql

from students.assess import remote
from students.assess.log import read_log
from students.errors import BadInputs
from tests.students.assess.test_formats import BODY, CALL, CAMEL, LITELLM, MESSAGES

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def litellm_database(empty_database):
    """A database with LiteLLM's table and three calls, one of them old."""
    with psycopg.connect(empty_database) as connection:
        connection.execute(
            'CREATE TABLE "LiteLLM_SpendLogs" (request_id text, call_type text, spend float, '
            'prompt_tokens int, completion_tokens int, "startTime" timestamp(3), model text, '
            "cache_hit text, status text, messages jsonb, response jsonb, api_key text)"
        )
        for i, at in enumerate(("2025-10-09 08:53:20", "2025-10-09 08:53:20", "2019-01-01")):
            connection.execute(
                'INSERT INTO "LiteLLM_SpendLogs" VALUES '
                "(%s, 'acompletion', 0, 100, 2, %s, 'gpt-4o', 'False', 'success', %s, %s, 'k')",
                (str(i), at, json.dumps(MESSAGES), json.dumps(BODY)),
            )
    return empty_database


def test_litellms_table_is_read_since_a_day(litellm_database):
    """A row of the database is the row of an export; columns that a release lacks are not asked."""
    log = read_log([litellm_database], since=LONG_AGO)
    assert log.calls == [CALL] * 2
    assert dict(log.kinds) == {"LiteLLM": 2}


def test_langfuses_own_table_is_read(empty_database):
    """Tokens and dollars stand in columns of their own there."""
    with psycopg.connect(empty_database) as connection:
        connection.execute(
            "CREATE TABLE observations (id text, trace_id text, type text, level text, "
            "start_time timestamp(3), input jsonb, output jsonb, model text, prompt_tokens int, "
            "completion_tokens int, calculated_total_cost numeric)"
        )
        connection.execute(
            "INSERT INTO observations VALUES ('o', 't', 'GENERATION', 'DEFAULT', "
            "'2025-10-09 08:53:20', %s, '\"urgent\"', 'gpt-4o-2024-08-06', 100, 2, 0.25)",
            (json.dumps(MESSAGES),),
        )
    [call] = read_log([empty_database], since=LONG_AGO).calls
    assert (call.system, call.user, call.answer) == (CALL.system, CALL.user, CALL.answer)
    assert (call.input_tokens, call.output_tokens, call.usd) == (100, 2, 0.25)


def test_a_database_that_takes_no_writes_can_be_read(litellm_database):
    """A standby, say: nothing but reading is asked of it."""
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        words = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name)
        connection.execute(words)
    assert len(read_log([litellm_database], since=LONG_AGO).calls) == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:secret@127.0.0.1:9/none", "cannot be read"),
        ("mysql://u:secret@host/db", "of no known kind; known are postgresql"),
        ("https://u:secret@cloud.langfuse.com", "of no known kind; known are postgresql"),
        ("langfuse+https://cloud.langfuse.com", "LANGFUSE_PUBLIC_KEY is not set"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_without_the_secret(url, words, monkeypatch):
    """What was found, what is allowed; never the password."""
    monkeypatch.delenv("LANGFUSE_PUBLIC_KEY", raising=False)
    with pytest.raises(BadInputs) as told:
        read_log([url])
    assert words in str(told.value)
    assert "secret" not in str(told.value)


def test_a_database_of_something_else_says_what_is_looked_for(empty_database):
    """The tables that are known are named."""
    with pytest.raises(BadInputs, match="has none of the tables LiteLLM_SpendLogs, observations"):
        read_log([empty_database])


@contextmanager
def _api(answer):
    """A server that answers GET by `answer(path, query, headers)`: a status and a document."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            asked.append((parts.path, query))
            status, document = answer(parts.path, query, self.headers)
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if status == 429:
                self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture
def langfuse_keys(monkeypatch):
    """Keys as Langfuse gives them."""
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk")


def test_langfuse_is_read_by_its_cursor(langfuse_keys):
    """Each page names the next one; a 429 is waited for; the keys go as Basic, and a day bounds."""
    refused = iter([True])

    def answer(path, query, headers):
        assert headers["authorization"] == "Basic cGs6c2s="
        assert (path, query["type"]) == ("/api/public/v2/observations", "GENERATION")
        assert query["fromStartTime"].startswith("2025-01-01")
        if next(refused, False):
            return 429, {}
        if "cursor" not in query:
            return 200, {"data": [CAMEL, CAMEL], "meta": {"cursor": "c"}}
        return 200, {"data": [CAMEL], "meta": {}}

    with _api(answer) as (base, asked):
        assert read_log([f"langfuse+{base}"], since=LONG_AGO).calls == [CALL] * 3
    assert [query.get("cursor") for _, query in asked] == [None, None, "c"]


def test_an_older_langfuse_is_read_by_its_pages(langfuse_keys):
    """Where version 2 is not there, version 1 is."""

    def answer(path, query, headers):
        if path != "/api/public/observations":
            return 404, {}
        return 200, {"data": [CAMEL], "meta": {"page": int(query["page"]), "totalPages": 3}}

    with _api(answer) as (base, _):
        assert read_log([f"langfuse+{base}/"], since=LONG_AGO).calls == [CALL] * 3


@pytest.mark.parametrize("path", ["/spend/logs/v2", "/spend/logs/ui"])
def test_litellms_lists_are_completed_row_by_row(monkeypatch, path):
    """A list leaves prompts and answers out: each call is asked for its own, in order."""
    monkeypatch.setenv("LITELLM_API_KEY", "sk-1")
    bare = {name: value for name, value in LITELLM.items() if name not in ("messages", "response")}

    def answer(asked, query, headers):
        assert headers["authorization"] == "Bearer sk-1"
        if asked == path:
            page = int(query["page"])
            rows = [bare | {"request_id": f"{page}-{i}", "spend": page} for i in range(3)]
            return 200, {"data": rows, "total_pages": 2}
        if asked.startswith("/spend/logs/ui/"):
            return 200, {"messages": MESSAGES, "response": BODY}
        return 404, {}

    with _api(answer) as (base, _):
        calls = read_log([f"litellm+{base}"], since=LONG_AGO).calls
    assert [call.usd for call in calls] == [1, 1, 1, 2, 2, 2]
    assert {call.answer for call in calls} == {CALL.answer}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {}, "cannot be read: 401 Unauthorized; check the address and the key"),
        (200, b"<html>", "does not answer as this API does"),
        (200, {"error": "x"}, "does not answer as this API does"),
        (404, {}, "has none of /api/public/observations"),
        (503, {}, "cannot be read: 503 Service Unavailable"),
    ],
)
def test_an_api_that_does_not_answer_is_one_sentence(
    langfuse_keys, monkeypatch, status, body, words
):
    """Refused, another server, and one that stays down."""
    monkeypatch.setattr(remote, "_MOST_WAIT_S", 0.0)
    with _api(lambda *asked: (status, body)) as (base, _), pytest.raises(BadInputs) as told:
        read_log([f"langfuse+{base}"], since=datetime.now(UTC) - timedelta(days=1))
    assert words in str(told.value)
