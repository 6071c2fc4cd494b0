"""The door in front of the application."""

import json
from decimal import Decimal

import pytest

from router.http.key_gate import KeyGate
from router.keys.ring import SCOPE_KEY, KeyRing, KeySpec, sha256_of
from router.keys.spending import SpendingLedger
from router.ledger.entry import MemoryLedger
from router.policy import Route
from router.testing import sample_entry

SECRET = "rh-canary-7f3a9"


class _Inside:
    """The application behind the door: remembers the scopes that reached it."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class _Door:
    def __init__(self, **limits):
        self.ring = KeyRing([KeySpec(name="team-a", sha256=sha256_of(SECRET), **limits)])
        self.inside = _Inside()
        self.kinds = []
        self.gate = KeyGate(self.ring, self.inside, self.kinds.append)

    async def __call__(self, path="/v1/classify", method="POST", headers=()):
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "path": path, "method": method, "headers": list(headers)}
        await self.gate(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


GOOD = [(b"authorization", b"Bearer " + SECRET.encode())]


async def test_a_known_key_gets_in_and_leaves_its_secret_at_the_door():
    """Behind the gate there is the key's name, and the secret in no header."""
    door = _Door(priority=3)
    status, _, _ = await door(headers=[*GOOD, (b"accept", b"*/*")])
    [scope] = door.inside.scopes
    assert status == 200
    assert (scope[SCOPE_KEY].name, scope[SCOPE_KEY].priority) == ("team-a", 3)
    assert scope["headers"] == [(b"accept", b"*/*")]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/classify",
        "/v1/chat/completions",
        "/v1/models",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/nothing",
        "/healthz/../v1/classify",
        "//healthz",
        "/healthz/",
        "/HEALTHZ",
    ],
)
async def test_every_path_but_the_probes_is_shut(path):
    """Default deny, on the path as it is: no trick of spelling opens it."""
    door = _Door()
    status, headers, body = await door(path=path)
    assert (status, door.inside.scopes) == (401, [])
    assert headers[b"connection"] == b"close"
    assert b"www-authenticate" in headers
    assert "API key" in json.dumps(json.loads(body))
    assert door.kinds == ["authentication_error"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_open(path):
    """A load balancer needs no key."""
    assert (await _Door()(path=path, method="GET"))[0] == 200


async def test_a_host_header_cannot_open_a_path():
    """Only the path of the scope counts, not one smuggled into Host."""
    door = _Door()
    status, _, _ = await door(headers=[(b"host", b"router/healthz?x=")])
    assert status == 401


async def test_beyond_its_rate_a_key_is_429_with_retry_after():
    """The limit of a key is its own refusal, with the time to wait."""
    door = _Door(requests_per_second=1)
    assert (await door(headers=GOOD))[0] == 200
    status, headers, body = await door(headers=GOOD)
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    assert SECRET.encode() not in body


async def test_looking_at_models_does_not_use_up_the_rate():
    """Only POST asks a model something."""
    door = _Door(requests_per_second=1)
    for _ in range(3):
        assert (await door(path="/v1/models", method="GET", headers=GOOD))[0] == 200


async def test_money_is_counted_when_it_is_booked():
    """The ledger's entries, student and teacher, count against the key that asked."""
    door = _Door(max_usd_per_day=Decimal("0.01"))
    ledger = SpendingLedger(MemoryLedger(), door.ring)
    ledger.append(sample_entry(teacher_usd=Decimal("0.01")))
    assert (await door(headers=GOOD))[0] == 200
    ledger.append(sample_entry(route=Route.TEACHER, teacher_usd=Decimal("0.01"), client="team-a"))
    assert (await door(headers=GOOD))[0] == 429
