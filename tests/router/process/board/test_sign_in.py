"""The token is asked for once; a session lets in for a while, and nobody can make one up."""

import pytest

from router.http.key_gate import KeyGate
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.admin_door import AdminDoor
from router.process.board import sign_in
from router.process.board.sign_in import COOKIE, SESSION_S, SignIn

TOKEN = "a-token-of-some-length"


class _Door:
    """The admin port's outer layers around an application that shows what it was sent."""

    def __init__(self, request, token=TOKEN):
        self.now, self.seen, self._request, self._token = 1_000_000.0, [], request, token
        ring = KeyRing([KeySpec(name="admin", sha256=sha256_of(token))])
        gate = KeyGate(ring, self._app, lambda kind: None)
        self._layers = AdminDoor(SignIn(gate, token, lambda: self.now))

    async def _app(self, scope, receive, send):
        self.seen.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def __call__(self, method, path, body=b"", **headers):
        pairs = [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ]
        return await self._request(self._layers, method, path, [body], pairs)

    async def session(self):
        """Sign in and return the cookie."""
        response = await self("POST", "/login", b"token=" + self._token.encode())
        assert (response.status, response.headers["location"]) == (303, "./")
        given = response.headers["set-cookie"]
        assert "HttpOnly" in given
        assert "samesite=strict" in given.lower()
        assert TOKEN not in given
        return given.split(";")[0]


@pytest.fixture
def door(request_asgi, monkeypatch):
    """The layers; a wrong token costs no time here."""
    monkeypatch.setattr(sign_in, "PAUSE_S", 0.0)
    return _Door(request_asgi)


async def test_a_session_is_let_in_as_if_it_had_sent_the_token(door):
    """Until it is over; neither token nor cookie reaches what is behind."""
    cookie = await door.session()
    assert (await door("GET", "/state", cookie=cookie)).status == 200
    assert (await door("GET", "/state", cookie=f"other=1; {cookie}")).status == 200
    assert not {b"authorization", b"cookie"} & door.seen[0].keys()
    door.now += SESSION_S + 1
    assert (await door("GET", "/state", cookie=cookie)).status == 401


async def test_nobody_makes_a_session_up(door, request_asgi):
    """Another time, another signature, none, or one of another token: not let in."""
    cookie = await door.session()
    value = cookie.partition("=")[2]
    until, signature = value.split(".")
    for forged in (f"{int(until) + 1}.{signature}", until, f"{until}.", ".", "", "nan." + signature,
                   f"{until}.{signature[:-1]}"):  # fmt: skip
        assert (await door("GET", "/state", cookie=f"{COOKIE}={forged}")).status == 401
    other = await _Door(request_asgi, "another-token-of-length").session()
    assert (await door("GET", "/state", cookie=other)).status == 401


async def test_a_wrong_token_gets_the_form_again(door, caplog):
    """With a sentence and no cookie; no token is ever in the log."""
    caplog.set_level("INFO")
    response = await door("POST", "/login", b"token=guess")
    assert response.status == 403
    assert "set-cookie" not in response.headers
    assert b'role="alert" id="wrong"' in response.body
    assert b'role="alert" hidden id="wrong"' in (await door("GET", "/")).body
    assert (await door("POST", "/login", b"token=" + b"x" * 100_000)).status == 403
    await door.session()
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("path", ["/login", "/logout", "/tasks/urgent/rollback"])
async def test_another_site_can_use_no_session(door, path):
    """It can neither sign anybody in or out nor change anything."""
    cookie = await door.session()
    for said in ({"origin": "https://evil"}, {"sec_fetch_site": "cross-site"},
                 {"sec_fetch_site": "same-site"}):  # fmt: skip
        response = await door(
            "POST", path, b"token=" + TOKEN.encode(), cookie=cookie, host="127.0.0.1:1", **said
        )
        assert response.status == 403
    assert door.seen == []


async def test_what_is_open_holds_no_figure(door):
    """Style and script are for everybody, the rest of the port for nobody without the token."""
    for path in ("/board.css", "/board.js"):
        assert (await door("GET", path)).status == 200
    for path in ("/board", "/board/stream", "/state", "/sign_in.html", "/board.css/x"):
        assert (await door("GET", path)).status == 401
    response = await door("GET", "/")
    assert response.status == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert door.seen == []
