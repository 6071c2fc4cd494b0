"""A router whose PostgreSQL is killed, and one that starts without it: nobody's request fails."""

from __future__ import annotations

import asyncio
import re

import pytest

from router.database.migrate import migrate
from router.testing import FaultServer
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e


async def ask(session, router):
    """Ask; returns status and reason."""
    async with session.post(router.url + "/v1/classify", json={"text": "help"}) as response:
        await response.read()
        return response.status, response.headers["x-raisehand-reason"]


async def store_up(session, router):
    """What the router says of the store."""
    async with session.get(router.url + "/metrics") as response:
        text = await response.text()
    [found] = re.findall(r"^raisehand_shared_store_up (\S+)$", text, flags=re.M)
    return found


async def until(session, router, wanted):
    """Ask until a reason is given; no request fails on the way there."""
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await ask(session, router)) != (200, wanted):
            assert answer[0] == 200, answer
            await asyncio.sleep(0.02)


async def test_an_alarm_outlives_the_database_and_a_start_without_it(
    serve, folder_of, make_postgres, session
):
    """Killed, the verdict stays; started without it, this host remembers; unknown, all escalate."""
    postgres = make_postgres(fsync="on")
    url = postgres.create()
    migrate(url)
    async with FaultServer(["NO", "YES"]) as teacher:  # calls everything calm; the student urgent
        folder = folder_of({"mode": "classify", "base_url": teacher.url}, audit_rate=1.0)
        router = await asyncio.to_thread(serve, at=folder, database_url=url)
        await until(session, router, "promise_broken")
        postgres.kill()
        assert {await ask(session, router) for _ in range(20)} == {(200, "promise_broken")}
        assert await asyncio.to_thread(router.stop) == 0
        again = await asyncio.to_thread(serve, at=folder, database_url=url)
        assert {await ask(session, again) for _ in range(5)} == {(200, "promise_broken")}
        for ruling in (folder / ".raisehand" / "rulings").iterdir():
            ruling.unlink()
        assert await asyncio.to_thread(again.stop) == 0
        unknown = await asyncio.to_thread(serve, at=folder, database_url=url)
        assert await ask(session, unknown) == (200, "promise_broken")
        assert await store_up(session, unknown) == "0.0"
        postgres.start(fsync="on")
        async with asyncio.timeout(PATIENCE_S):
            while await store_up(session, unknown) != "1.0":
                await asyncio.sleep(0.05)
        assert await ask(session, unknown) == (200, "promise_broken")
