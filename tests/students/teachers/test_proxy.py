"""How a teacher is reached through a company's proxy, and what else of the environment counts."""

import asyncio

import pytest

from students.errors import BadTask, TeacherUnavailable
from students.sections import TeacherSection
from students.teachers.client import TeacherClient, proxy_of

OUTSIDE = "http://teacher.example/v1"


def _client(**changes):
    price = {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1}
    section = {"mode": "classify", "base_url": OUTSIDE, "model": "m", "price": price}
    return TeacherClient(TeacherSection(**section | changes))


async def _asked(server, **changes):
    """What a proxy saw of one question to a teacher outside."""
    client = _client(**changes)
    try:
        await client.post(f"{OUTSIDE}/classify", {})
    finally:
        await client.aclose()
    return server.headers[-1]


@pytest.mark.parametrize("line", ["default", "machine teacher.example"])
@pytest.mark.parametrize("key", [None, "TEACHER_KEY"])
async def test_a_netrc_is_none_of_a_teachers_business(server, monkeypatch, tmp_path, line, key):
    """Its password is not sent, and fails no request that has a key."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"{line}\nlogin somebody\npassword secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", server.base_url)
    monkeypatch.setenv("TEACHER_KEY", "k")
    seen = await _asked(server, api_key_env=key)
    assert seen.get("Authorization") == ("Bearer k" if key else None)
    assert "Proxy-Authorization" not in seen


async def test_the_environment_is_read_once(server, monkeypatch):
    """At a pool's opening; what stands there later is for a process that starts later."""
    client = _client()
    monkeypatch.setenv("HTTP_PROXY", server.base_url)
    await client.post(f"{OUTSIDE}/classify", {})
    monkeypatch.setattr("students.teachers.client.getproxies", lambda: pytest.fail("asked again"))
    await client.post(f"{OUTSIDE}/classify", {})
    await client.aclose()
    assert len(server.asked) == 2


async def test_a_proxy_is_told_its_own_password(server, monkeypatch):
    """As its address has it; the teacher's key goes with it."""
    monkeypatch.setenv("HTTP_PROXY", server.base_url.replace("//", "//me:p%40ss@"))
    monkeypatch.setenv("TEACHER_KEY", "k")
    seen = await _asked(server, api_key_env="TEACHER_KEY")
    assert seen["Proxy-Authorization"] == "Basic bWU6cEBzcw=="
    assert seen["Authorization"] == "Bearer k"
    assert seen["Host"] == "teacher.example"


@pytest.mark.parametrize("password", ["", "me:p%40ss@"])
async def test_no_proxy_is_told_a_key(monkeypatch, password):
    """On the way to TLS it sees a name, and its own password."""
    heads = []

    async def hear(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    monkeypatch.setenv("TEACHER_KEY", "secret")
    async with await asyncio.start_server(hear, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://{password}127.0.0.1:{port}")
        client = _client(base_url="https://teacher.example/v1", api_key_env="TEACHER_KEY")
        with pytest.raises(TeacherUnavailable):
            await client.post("https://teacher.example/v1/classify", {})
        await client.aclose()
    [head] = heads
    assert head.startswith("CONNECT teacher.example:443 ")
    assert "secret" not in head
    assert ("Proxy-Authorization: Basic bWU6cEBzcw==" in head) == bool(password)


@pytest.mark.parametrize(
    ("url", "no_proxy", "through"),
    [
        (OUTSIDE, "", True),
        (OUTSIDE, "*", False),
        (OUTSIDE, "example", False),
        (OUTSIDE, ".example, other", False),
        (OUTSIDE, "ample", True),
        ("http://teacher.example:8000/v1", "teacher.example:8000", False),
        ("http://teacher.example:8001/v1", "teacher.example:8000", True),
        ("https://teacher.example/v1", "", False),
        ("http://127.0.0.1:8000/v1", "", False),
        ("http://localhost/v1", "", False),
        ("http://[::1]:8000/v1", "", False),
    ],
)
def test_who_is_reached_through_it(monkeypatch, url, no_proxy, through):
    """Hosts of its scheme that NO_PROXY does not name, and never this machine."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert proxy_of(url) == ("http://proxy.example:3128" if through else None)


def test_an_address_without_a_scheme_is_one(monkeypatch):
    """As curl takes it."""
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    assert proxy_of(OUTSIDE) == "http://proxy.example:3128"


@pytest.mark.parametrize(
    "none", ["http://[proxy", "http://", "http://proxy:port", "http://p:99999"]
)
def test_a_proxy_that_is_no_address_is_a_sentence(monkeypatch, none):
    """The variable is named, and what it has, a password maybe, is not said."""
    monkeypatch.setenv("http_proxy", none)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(BadTask, match="HTTP_PROXY in the environment is no address"):
        proxy_of(OUTSIDE)
