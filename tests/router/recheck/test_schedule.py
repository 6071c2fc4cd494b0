"""Real routers ask their teacher again: one of them, priced, and a change is final."""

from __future__ import annotations

import asyncio
import shutil
import time
from decimal import Decimal

import pytest
from aiohttp import web

from router.database.migrate import migrate
from router.ledger.read import read_entries
from router.shared.postgres_store import PostgresStore
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from students.teachers.protocol import PROBE
from tests.router.running import reason_of
from tests.waiting import until_seen

pytestmark = pytest.mark.e2e
EVERY_S = 4.0
ROWS = 20
USD_PER_TOKEN = Decimal("0.000001")
CHECK = {"every_hours": EVERY_S / 3600.0, "rows": ROWS, "max_usd": 1}
TOKEN = "a-long-enough-admin-token"


def checks(folder):
    """Rows of the ledger that are questions of the router's own."""
    found = read_entries(folder / ".raisehand" / "ledger.sqlite")
    return [entry for entry in found if entry.reason == "teacher_check"]


async def metric(session, url, name):
    """What each worker says, by the text of its line."""
    async with session.get(url + "/metrics") as response:
        text = await response.text()
    return [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)]


async def test_another_teacher_behind_the_name_is_found_and_its_price_is_in_the_ledger(
    serve, labelled_as, calm_teacher, upstream, session
):
    """Two workers, one check an interval; then the model changes: void, all escalates, told."""
    told = []

    async def receiver(request):
        told.append(await request.json())
        return web.Response()

    hook = {"url": await upstream(receiver) + "/hook"}
    folder = labelled_as(calm_teacher.url, "calm", teacher_check=CHECK, webhooks=[hook])
    started = time.monotonic()
    router = await asyncio.to_thread(
        serve, "--workers", "2", "--admin-port", "0", at=folder, admin_token=TOKEN
    )

    async def checked():
        times = await metric(session, router.url, "raisehand_teacher_checked_timestamp_seconds{")
        return len(times) == 2 and all(times)

    await until_seen(checked)
    most = 1 + (time.monotonic() - started) / EVERY_S
    store = SqliteStore(folder / ".raisehand" / STORE_FILE)
    [figures] = [r.verdict.figures for r in store.rulings() if r.task == "urgent#teacher"]
    assert figures["differed"] == 0
    assert figures["compared"] % ROWS == 0
    assert figures["compared"] / ROWS <= most, "two workers ask once, not twice"
    assert await reason_of(session, router.url) == "confident"
    calm_teacher.says = 1

    async def changed():
        return await reason_of(session, router.url) == "promise_broken"

    await until_seen(changed)

    async def events():
        return [one for one in store.events() if one.reason == "teacher_changed"]

    [event] = await until_seen(events)
    assert event.kind == "verdict"
    assert event.figures["differed"] > 0

    async def webhook():
        return [one for one in told if one["reason"] == "teacher_changed"]

    [body] = await until_seen(webhook)
    assert body["figures"]["differed"] == event.figures["differed"]

    async def both_know():
        return await metric(session, router.url, "raisehand_teacher_changed{") == [1.0, 1.0]

    await until_seen(both_know)
    assert {await reason_of(session, router.url) for _ in range(10)} == {"promise_broken"}
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with session.get(router.admin + "/state", headers=headers) as response:
        states = [worker["tasks"]["urgent"] for worker in (await response.json())["workers"]]
    assert [state["teacher_check"]["changed"] for state in states] == [1, 1]
    asked = calm_teacher.seen.total()
    await asyncio.sleep(1.5 * EVERY_S)
    assert calm_teacher.seen.total() == asked, "a teacher that has gone is asked no more"
    assert await asyncio.to_thread(router.stop) == 0
    own = checks(folder)
    answers = list(read_entries(folder / ".raisehand" / "ledger.sqlite"))
    tried = sum(
        PROBE.encode() in body for body in calm_teacher.bodies
    )  # by each worker as it starts
    assert sum(e.attempts for e in answers) == calm_teacher.seen.total() - tried
    invoice = calm_teacher.billed_input - tried * len(PROBE.split())
    assert sum(e.teacher_usd for e in answers) == invoice * USD_PER_TOKEN
    assert len(own) % ROWS == 0
    assert {e.surface for e in own} == {"teacher_check"}
    assert all(e.teacher_usd for e in own)
    store.close()


async def test_a_restart_asks_nothing_anew(serve, labelled_as, calm_teacher):
    """When the last check was begun is remembered; labels that are new are their own baseline."""
    folder = labelled_as(calm_teacher.url, "calm", teacher_check=CHECK | {"every_hours": 1.0})
    store = SqliteStore(folder / ".raisehand" / STORE_FILE)

    async def seen():
        return [
            r
            for r in store.rulings()
            if r.task == "urgent#teacher" and r.verdict.figures["begun_at"]
        ]

    for _ in range(2):
        router = await asyncio.to_thread(serve, at=folder)
        [first] = await until_seen(seen)
        assert await asyncio.to_thread(router.stop) == 0
    [again] = await until_seen(seen)
    assert again.verdict.figures["begun_at"] == first.verdict.figures["begun_at"]
    assert checks(folder) == []
    store.close()


async def test_a_check_that_a_stop_cuts_off_is_no_check_and_its_answers_are_known(
    serve, labelled_as, calm_teacher
):
    """The worker that claimed it is gone: the next one need not wait for an interval."""
    calm_teacher.latency_s = 0.2
    folder = labelled_as(calm_teacher.url, "calm", teacher_check=CHECK | {"rows": 5 * ROWS})
    router = await asyncio.to_thread(serve, at=folder)

    async def begun():
        return len(checks(folder)) >= 2

    await until_seen(begun)
    assert await asyncio.to_thread(router.stop) == 0
    store = SqliteStore(folder / ".raisehand" / STORE_FILE)
    [figures] = [r.verdict.figures for r in store.rulings() if r.task == "urgent#teacher"]
    store.close()
    assert figures["failed"] == 1
    assert 1 <= figures["compared"] <= len(checks(folder)) < 5 * ROWS


async def test_a_check_that_a_stop_cuts_off_without_a_store_keeps_nobody(
    serve, labelled_as, calm_teacher, make_postgres
):
    """The database is gone: the router ends, and says what is lost."""
    calm_teacher.latency_s = 0.2
    folder = labelled_as(calm_teacher.url, "calm", teacher_check=CHECK | {"rows": 5 * ROWS})
    postgres = await asyncio.to_thread(make_postgres)
    url = postgres.create()
    migrate(url)
    router = await asyncio.to_thread(serve, at=folder, database_url=url)

    async def begun():
        return len(checks(folder)) >= 2

    await until_seen(begun)
    postgres.kill()
    assert await asyncio.to_thread(router.stop) == 0
    assert any("a check of the teacher of task urgent is lost" in line for line in router.log)


async def test_two_hosts_ask_once(serve, labelled_as, calm_teacher, database, tmp_path, session):
    """Four workers on one PostgreSQL: as many checks as one process would make."""
    first = labelled_as(calm_teacher.url, "calm", teacher_check=CHECK)
    second = tmp_path.with_name(tmp_path.name + "-second")
    shutil.copytree(first, second)
    started = time.monotonic()
    routers = await asyncio.gather(
        *(
            asyncio.to_thread(serve, "--workers", "2", at=folder, database_url=database)
            for folder in (first, second)
        )
    )

    async def all_know():
        name = "raisehand_teacher_checked_timestamp_seconds{"
        found = [await metric(session, router.url, name) for router in routers]
        return all(len(times) == 2 and all(times) for times in found)

    await until_seen(all_know)
    for router in routers:
        assert await asyncio.to_thread(router.stop) == 0
    most = 1 + (time.monotonic() - started) / EVERY_S
    store = PostgresStore(database)
    [figures] = [r.verdict.figures for r in store.rulings() if r.task == "urgent#teacher"]
    store.close()
    own = [*checks(first), *checks(second)]
    assert figures["compared"] <= len(own) <= ROWS * most
