"""Real workers on drifted traffic: one alarm of all their audits, heard by each of them."""

from __future__ import annotations

import asyncio
import shutil

import psycopg
import pytest

from router.ledger.read import read_entries
from router.shared.postgres_store import PostgresStore
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from tests.router.running import reason_of
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
HEARD_S = 1.0
"""Within so long of the alarm every worker escalates everything."""


async def alarmed(session, url):
    """Which workers say that the promise is broken."""
    async with session.get(url + "/metrics") as response:
        text = await response.text()
    return [f'raisehand_promise_broken{{worker="{i}"}} 1.0' in text for i in range(2)]


async def test_two_workers_have_one_alarm_and_a_restart_keeps_it(
    serve, folder_of, calm_teacher, session, stalls
):
    """All escalate within a second of the verdict, whichever of them wrote it."""
    folder = folder_of({"mode": "classify", "base_url": calm_teacher.url}, audit_rate=0.5)
    router = await asyncio.to_thread(serve, "--workers", "2", at=folder)
    async with asyncio.timeout(PATIENCE_S):
        while not all(await alarmed(session, router.url)):
            await asyncio.gather(*(reason_of(session, router.url) for _ in range(4)))
    store = SqliteStore(folder / ".raisehand" / STORE_FILE)
    [event] = store.events()
    assert (event.kind, event.reason) == ("verdict", "promise_broken")
    assert {await reason_of(session, router.url) for _ in range(20)} == {"promise_broken"}
    told = {audit.bundle for _, audit in store.audits("urgent")}
    assert len(told) == 1
    assert await asyncio.to_thread(router.stop) == 0
    kept = [one.at for one in read_entries(folder / ".raisehand" / "ledger.sqlite")
            if one.reason == "confident"]  # fmt: skip
    assert max(kept) - event.at < HEARD_S + stalls.worst
    assert store.rulings()[0].verdict.figures["audits"] < 30  # one worker's alone would be as many
    again = await asyncio.to_thread(serve, at=folder)
    assert await reason_of(session, again.url) == "promise_broken"
    assert len(store.events()) == 1
    store.close()


async def test_two_hosts_have_one_alarm(
    serve, folder_of, calm_teacher, session, database, tmp_path, stalls
):
    """Two routers of two workers each on one PostgreSQL: all four escalate within a second.

    By what the database has of each: the moment of the alarm and that of the last kept answer.
    """
    first = folder_of({"mode": "classify", "base_url": calm_teacher.url}, audit_rate=0.5)
    second = tmp_path.with_name(tmp_path.name + "-second")
    shutil.copytree(first, second)
    starting = [
        asyncio.to_thread(serve, "--workers", "2", at=folder, database_url=database)
        for folder in (first, second)
    ]
    routers = await asyncio.gather(*starting)
    urls = [router.url for router in routers]
    async with asyncio.timeout(PATIENCE_S):
        while not all([all(await alarmed(session, url)) for url in urls]):
            await asyncio.gather(*(reason_of(session, url) for url in urls for _ in range(2)))
    store = PostgresStore(database)
    [event] = store.events()
    assert event.reason == "promise_broken"
    reasons = {await reason_of(session, url) for url in urls for _ in range(10)}
    assert reasons == {"promise_broken"}
    assert len({audit.bundle for _, audit in store.audits("urgent")}) == 1
    assert store.rulings()[0].verdict.figures["audits"] < 40  # one worker's alone would be as many
    store.close()
    for router in routers:
        assert await asyncio.to_thread(router.stop) == 0  # what is left is shipped
    with psycopg.connect(database) as connection:
        (last,) = connection.execute(
            "select extract(epoch from max(at))::float8 from raisehand.decisions "
            "where reason = 'confident'"
        ).fetchone()
    assert last - event.at < HEARD_S + stalls.worst
