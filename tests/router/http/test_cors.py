"""Browsers on pages of other origins: nothing by default, named ones by choice."""

import pytest
from pydantic import ValidationError

from router.http.cors import Cors
from router.http.loopback import Loopback
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.server import express_lane
from router.settings import Settings

APP = "https://app.example.com"
PREFLIGHT = (
    "OPTIONS {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n"
    "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: {names}\r\n\r\n"
)
ASKING = "POST {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nContent-Length: {n}\r\n\r\n{body}"


async def _said(rig, sent, origins=(APP,), **changes):
    """Return status and header lines of the answer."""
    made = await rig(**changes)
    cors = Cors(origins) if origins else None
    server = Loopback(made.app, made.service.settings, express_lane(made.service), cors)
    client = server.connect()
    client.send(sent.encode())
    await client.until_idle()
    first, *lines = client.received.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines)


def _asking(origin=APP, body='{"text": "help"}', path="/v1/classify"):
    return ASKING.format(path=path, origin=origin, n=len(body), body=body)


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/chat/completions", "/none"])
async def test_a_preflight_is_answered_before_a_key_is_asked_for(rig, path):
    """It carries no key; what comes after it needs one, and says so to the page."""
    ring = KeyRing([KeySpec(name="app", sha256=sha256_of("rh-secret"))])
    names = "authorization, content-type, x-stainless-os"
    status, headers = await _said(
        rig, PREFLIGHT.format(path=path, origin=APP, names=names), keys=ring
    )
    assert status == 204
    assert headers["access-control-allow-origin"] == APP
    assert headers["access-control-allow-headers"] == names
    assert "post" in headers["access-control-allow-methods"]
    assert "content-length" not in headers
    status, headers = await _said(rig, _asking(path=path), keys=ring)
    assert status == 401
    assert headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize(
    ("body", "settings", "status"),
    [
        ('{"text": "help"}', Settings(), 200),
        ('{"text": ["help"]}', Settings(), 200),
        ("{", Settings(), 400),
        ("x" * 2_000, Settings(max_body_bytes=1_024), 413),
    ],
)
async def test_every_answer_tells_the_page_that_it_may_read_it(rig, body, settings, status):
    """Answers of the lane, of the application and refusals; also who answered and at what cost."""
    got, headers = await _said(rig, _asking(body=body), settings=settings)
    assert got == status
    assert headers["access-control-allow-origin"] == APP
    assert headers["vary"] == "origin"
    assert "x-raisehand-route" in headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("origins", "origin"),
    [((), APP), ((APP,), "https://evil.test"), ((APP,), APP + ".evil.test"), ((APP,), "null")],
)
async def test_other_pages_are_told_nothing(rig, origins, origin):
    """Off, or another origin: a preflight is a method nobody takes, an answer cannot be read."""
    preflight = PREFLIGHT.format(path="/v1/classify", origin=origin, names="x-a")
    status, headers = await _said(rig, preflight, origins)
    assert status == 405
    assert "access-control-allow-origin" not in headers
    status, headers = await _said(rig, _asking(origin), origins)
    assert status == 200
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("origin", [APP, "null", "http://localhost:3000"])
async def test_any_page_may_be_let_in(rig, origin):
    """`*` lets in all, and the answer is the same for all."""
    _, headers = await _said(rig, _asking(origin), ("*",))
    assert headers["access-control-allow-origin"] == "*"
    assert "vary" not in headers


@pytest.mark.parametrize("names", ["", "x" * 65, "a b", "a, ,b", "x\ta", "é"])
async def test_header_names_that_are_none_are_not_said_back(rig, names):
    """Only a list of names is repeated."""
    preflight = PREFLIGHT.format(path="/v1/classify", origin=APP, names=names)
    status, headers = await _said(rig, preflight)
    assert status == 204
    assert "access-control-allow-headers" not in headers


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://a.example, http://localhost:3000 http://[::1]:80",
         ("https://a.example", "http://localhost:3000", "http://[::1]:80")),
        ("https://a.example/", None),
        ("a.example", None),
        ("https://A.example", None),
        ("null", None),
    ],
)  # fmt: skip
def test_origins_are_given_as_a_list(monkeypatch, given, taken):
    """With blanks or commas between; one that no browser could send stops the start."""
    monkeypatch.setenv("RAISEHAND_CORS_ORIGINS", given)
    if taken is None:
        with pytest.raises(ValidationError, match="an origin is like"):
            Settings()
    else:
        assert Settings().cors_origins == taken
