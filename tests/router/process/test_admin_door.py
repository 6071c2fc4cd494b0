"""Changes of the admin port: from its own pages or from tools, and each of them written down."""

import logging

import pytest

from router.process.admin_door import OPERATOR, AdminDoor, is_from_elsewhere


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ({}, False),
        ({b"origin": b"http://127.0.0.1:8081", b"host": b"127.0.0.1:8081"}, False),
        ({b"origin": b"https://admin.example", b"host": b"admin.example"}, False),
        ({b"sec-fetch-site": b"same-origin"}, False),
        ({b"sec-fetch-site": b"none"}, False),
        ({b"origin": b"https://evil", b"host": b"127.0.0.1:8081"}, True),
        ({b"origin": b"http://127.0.0.1:8080", b"host": b"127.0.0.1:8081"}, True),
        ({b"origin": b"null", b"host": b"127.0.0.1:8081"}, True),
        ({b"origin": b"https://evil"}, True),
        ({b"sec-fetch-site": b"cross-site"}, True),
        ({b"sec-fetch-site": b"same-site"}, True),
        ({b"origin": b"http://a:1", b"host": b"a:1", b"sec-fetch-site": b"cross-site"}, True),
    ],
)
def test_a_browser_that_another_site_sends_is_known(headers, elsewhere):
    """By what browsers say and pages cannot: Origin and Sec-Fetch-Site."""
    assert is_from_elsewhere(headers) is elsewhere


async def _app(scope, receive, send):
    message = await receive()
    status = 409 if b"no" in message["body"] else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_forged_change_reaches_nobody(request_asgi, method, caplog):
    """A form of another site with the browser's password is refused; looking is not."""
    caplog.set_level(logging.INFO)
    evil = [(b"origin", b"https://evil"), (b"host", b"127.0.0.1:1")]
    response = await request_asgi(AdminDoor(_app), method, "/tasks/t/rollback", [b""], evil)
    assert response.status == 403
    assert caplog.records == []
    response = await request_asgi(AdminDoor(_app), "GET", "/state", [b""], evil)
    assert response.status == 200


async def test_what_was_changed_is_in_the_log_and_nothing_else(request_asgi, caplog):
    """Who, what and with which values; a refused change changed nothing."""
    caplog.set_level(logging.INFO)
    door = AdminDoor(_app)
    await request_asgi(door, "PUT", "/tasks/t/threshold", [b'{"threshold": 0.5}'])
    await request_asgi(door, "PUT", "/tasks/t/threshold", [b"no"])
    await request_asgi(door, "GET", "/state", [b""])
    [record] = caplog.records
    assert record.name == "router.admin.changes"
    words = 'client changed PUT /tasks/t/threshold {"threshold": 0.5}'
    assert record.getMessage() == words


async def test_a_change_is_recorded_once_with_who_made_it(request_asgi):
    """By the door itself; behind the supervisor only where that says who it was."""
    told = []

    async def record(change):
        told.append((change.who, change.path))

    body, path = b'{"threshold": 0.5}', "/tasks/t/threshold"
    forged = [(OPERATOR, b"10.0.0.1")]
    await request_asgi(AdminDoor(_app, record), "PUT", path, [body], forged)
    await request_asgi(AdminDoor(_app, record), "PUT", path, [b"no"])
    assert told == [("client", path)]
    await request_asgi(AdminDoor(_app, record, inside=True), "PUT", path, [body])
    await request_asgi(AdminDoor(_app, record, inside=True), "PUT", path, [body], forged)
    assert told[1:] == [("10.0.0.1", path)]
