"""Logs: one JSON object a line, no secrets, no user text."""

import io
import json
import logging
import sys
import time

import pytest

from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.admin import create_admin
from router.process.app import create_app
from router.process.board.maker import PageFiles
from router.process.following.steward import Steward
from router.service.passthrough import Passthrough
from router.service.served import Served
from router.service.service import Service
from router.settings import Settings
from router.telemetry.logs import JsonFormatter
from students.testing import ScriptedTeacher

CLIENT_KEY = "rh-CANARY-client-key-000000000"
TEACHER_KEY = "CANARY-teacher-key"
ADMIN_TOKEN = "CANARY-admin-token-0000"
TEXT = "CANARY maybe my name is Jane Roe"
CANARY = "CANARY"


@pytest.fixture
def lines():
    """All that any logger writes, as a running router formats it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter([TEACHER_KEY, ADMIN_TOKEN]))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: stream.getvalue().splitlines()
    root.removeHandler(handler)
    root.setLevel(level)


def _line(lines):
    [line] = lines()
    return json.loads(line)


def test_a_line_is_json_with_time_level_logger_message(lines):
    """Machines read it, and a message with line breaks cannot forge a second line."""
    logging.getLogger("router.test").warning('one\n{"level": "error"}\x1b[31m %s', "two")
    document = _line(lines)
    assert (document["level"], document["logger"]) == ("warning", "router.test")
    assert document["message"] == 'one\n{"level": "error"}\x1b[31m two'
    assert document["time"].endswith("+00:00")


@pytest.mark.parametrize(
    "message",
    [
        f"key {TEACHER_KEY} refused",
        f"Authorization: Bearer {CLIENT_KEY}",
        f"header was {CLIENT_KEY}",
        "https://user:CANARY-password@teacher.example/v1",
        "sk-CANARY000000000000",
    ],
)
def test_secrets_are_hidden_wherever_they_turn_up(lines, message):
    """Known secrets by value, others by their looks."""
    logging.getLogger("somebodys").error(message)
    assert CANARY not in lines()[0]
    assert "[hidden]" in lines()[0]


def test_an_exception_is_logged_by_origin_without_its_message(lines):
    """Type and place of an error and its cause; what it quotes stays out."""
    try:
        try:
            {}[TEXT]
        except KeyError as error:
            raise ValueError(TEXT) from error
    except ValueError:
        logging.getLogger("router.test").exception("it failed")
    document = _line(lines)
    assert [link["type"] for link in document["exception"]] == ["ValueError", "KeyError"]
    assert "test_logs.py" in document["exception"][0]["frames"][-1]
    assert CANARY not in lines()[0]


async def test_no_secret_and_no_text_in_any_sink(rig, make_task, request_asgi, lines, monkeypatch):
    """T25: after every kind of trouble, logs, metrics, ledger and error bodies hold no canary."""
    monkeypatch.setenv("TEACHER_KEY", TEACHER_KEY)
    task = make_task(teacher={"api_key_env": "TEACHER_KEY"})
    broken = ScriptedTeacher(task.schema_, RuntimeError(f"{TEXT} {TEACHER_KEY}"))
    made = await rig(task=task, teacher=broken)
    passthrough = Passthrough(task.teacher, made.pipeline, time.monotonic)
    service = Service(
        {task.name: Served(task, made.pipeline, passthrough)},
        made.ledger,
        made.service.metrics,
        Settings(admin_token=ADMIN_TOKEN),
        keys=KeyRing([KeySpec(name="team-a", sha256=sha256_of(CLIENT_KEY))]),
    )
    app = create_app(service)
    steward = Steward(service, lambda task, bundle: sys.exit(TEXT))
    admin = create_admin(service, steward, ADMIN_TOKEN, sys.exit, PageFiles([], None, None))
    good = [(b"authorization", b"Bearer " + CLIENT_KEY.encode())]
    bodies = []

    async def post(path, payload, headers=good, to=app):
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        bodies.append((await request_asgi(to, "POST", path, [body], headers)).body)

    chat = {"model": "big", "messages": [{"role": "user", "content": TEXT}]}
    await post("/v1/classify", {"text": TEXT})
    await post("/v1/classify", {"text": f"poison {TEXT}"})
    await post("/v1/classify", {"text": TEXT, "threshold": TEXT})
    await post("/v1/classify", TEXT.encode())
    await post("/v1/classify", f'{{"text": "{TEXT}", "threshold": NaN}}'.encode())
    await post("/v1/classify", {"text": TEXT}, [(b"authorization", b"Bearer CANARY-wrong")])
    await post("/v1/chat/completions", chat)
    await post("/v1/chat/completions", chat | {"model": TEXT})
    await post(f"/v1/{CANARY}", chat)
    operator = [(b"authorization", b"Bearer " + ADMIN_TOKEN.encode())]
    await post("/tasks/urgent/bundle", {"bundle": TEXT}, operator, admin)
    await post("/state", {}, [(b"authorization", b"Bearer CANARY-wrong")], admin)
    await passthrough.aclose()

    metrics = (await request_asgi(app, "GET", "/metrics", [b""], good)).body
    sinks = {
        "log": "\n".join(lines()),
        "metrics": metrics.decode(),
        "ledger": "\n".join(map(repr, made.ledger.entries)),
        "errors": b"\n".join(bodies).decode(),
        "settings": repr(service.settings),
    }
    assert len(made.ledger.entries) >= 3
    assert "declare" in sinks["log"]
    assert {name for name, content in sinks.items() if CANARY in content} == set()
