"""Several worker processes: one engine for all of them, one admin port for all of them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from router.ledger.read import read_entries
from tests.waiting import until_equal

pytestmark = pytest.mark.e2e
TOKEN = "a-token-of-some-length"


def children(pid):
    """Command lines of a process's children, by their id."""
    ids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(i): Path(f"/proc/{i}/cmdline").read_text().split("\0") for i in ids}


def engine_of(router):
    """Process id of the engine."""
    [pid] = [
        p for p, line in children(router.process.pid).items() if "router.process.engine" in line
    ]
    return pid


def worker_of(router, index):
    """Process id of a worker."""
    lines = children(router.process.pid).items()
    [pid] = [p for p, line in lines if "--worker" in line and f"{index}/2" in line]
    return pid


@pytest.fixture
async def session():
    """A client that opens a connection for each request, so that both workers are asked."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def post(session, url, text="help", request_id="r"):
    """Ask; returns status, label, bundle and reason."""
    async with session.post(
        url + "/v1/classify", json={"text": text}, headers={"x-request-id": request_id}
    ) as response:
        body = await response.json()
        headers = response.headers
        reason = headers.get("x-raisehand-reason")
        return response.status, body.get("label"), headers.get("x-raisehand-bundle"), reason


async def get(session, url):
    """Status of a GET."""
    async with session.get(url) as response:
        await response.read()
        return response.status


async def up(session, url):
    """How many workers answer a scrape."""
    async with session.get(url + "/metrics") as response:
        text = await response.text()
    return sum(text.count(f'raisehand_worker_up{{worker="{i}"}} 1.0') for i in range(2))


async def test_workers_share_one_engine_and_lose_nothing_when_it_is_killed(
    serve, session, tmp_path
):
    """T12: kill -9 under load: each request is answered once, unready at once, back by itself."""
    ledger = tmp_path / "l.sqlite"
    router = await asyncio.to_thread(
        serve, "--workers", "2", "--engine", "shared", "--ledger", str(ledger)
    )
    await until_equal(lambda: up(session, router.url), 2)
    assert {a[:2] for a in await ask_many(session, router.url, "before", 60)} == {(200, "urgent")}
    victim = engine_of(router)
    answers, stop = [], asyncio.Event()
    asking = [
        asyncio.create_task(keep_asking(session, router.url, f"{i}", answers, stop))
        for i in range(8)
    ]
    await asyncio.sleep(0.5)
    os.kill(victim, signal.SIGKILL)
    await until_equal(lambda: get(session, router.url + "/readyz"), 503)
    assert await get(session, router.url + "/healthz") == 200
    await until_equal(lambda: get(session, router.url + "/readyz"), 200)
    stop.set()
    await asyncio.gather(*asking)
    assert engine_of(router) != victim
    assert {a[:2] for a in await ask_many(session, router.url, "after", 60)} == {(200, "urgent")}
    # While there is no engine nobody is sure of anything, and the teacher of this test is away.
    assert {(status, reason) for _, (status, _, _, reason) in answers} <= {
        (200, "confident"), (503, "teacher_unavailable"), (503, "breaker_open"),
        (503, "retry_budget"), (503, "teacher_busy"),
    }  # fmt: skip
    assert await asyncio.to_thread(router.stop) == 0
    booked = Counter(entry.request_id for entry in read_entries(ledger))
    assert all(booked[request_id] == 1 for request_id, _ in answers)


async def ask_many(session, url, name, n):
    """Ask n times at once."""
    return await asyncio.gather(*(post(session, url, request_id=f"{name}-{i}") for i in range(n)))


async def keep_asking(session, url, name, answers, stop):
    """Ask until told to stop; every request is remembered with what came of it."""
    while not stop.is_set():
        request_id = f"load-{name}-{len(answers)}"
        answers.append((request_id, await post(session, url, request_id=request_id)))


async def test_an_engine_serves_one_worker_too(serve, session, tmp_path):
    """`--engine shared` without `--workers`: the student runs beside, not in, the router."""
    router = await asyncio.to_thread(
        serve, "--engine", "shared", "--ledger", str(tmp_path / "l.sqlite")
    )
    assert (await post(session, router.url))[:2] == (200, "urgent")
    assert len(children(router.process.pid)) == 2
    engine = engine_of(router)
    assert await asyncio.to_thread(router.stop) == 0
    assert not Path(f"/proc/{engine}").exists()


async def test_without_their_supervisor_workers_and_engine_drain_and_end(serve, session, tmp_path):
    """Killed, it cannot stop them; they must not go on beside those of the next one."""
    router = await asyncio.to_thread(
        serve, "--workers", "2", "--engine", "shared", "--ledger", str(tmp_path / "l.sqlite")
    )
    await until_equal(lambda: up(session, router.url), 2)
    orphans = [Path(f"/proc/{pid}") for pid in children(router.process.pid)]
    assert len(orphans) == 3
    router.process.kill()
    router.process.wait()

    async def left():
        return sum(path.exists() for path in orphans)

    await until_equal(left, 0)


@pytest.fixture
async def operator(serve, session, tmp_path):
    """Two workers with an admin port, and a way to talk to it."""

    async def start(*options):
        router = await asyncio.to_thread(
            serve, "--workers", "2", "--admin-port", "0", *options,
            "--ledger", str(tmp_path / "l.sqlite"), admin_token=TOKEN,
        )  # fmt: skip
        await until_equal(lambda: up(session, router.url), 2)
        admin = Operator(router, session)

        async def away():
            return (await admin.each("bundle")).count(None)

        await until_equal(away, 0)
        return admin

    return start


class Operator:
    """Whoever holds the token."""

    def __init__(self, router, session):
        self.router = router
        self.session = session

    async def __call__(self, method, path, body=None, token=TOKEN):
        """Ask the admin port; returns status and JSON."""
        async with self.session.request(
            method, self.router.admin + path, json=body,
            headers={"authorization": f"Bearer {token}"},
        ) as response:  # fmt: skip
            return response.status, await response.json(content_type=None)

    async def each(self, name):
        """One field of the task's state, of each worker."""
        _, state = await self("GET", "/state")
        return [worker and worker["tasks"]["urgent"][name] for worker in state["workers"]]


@pytest.mark.parametrize("engine", ["own", "shared"])
async def test_what_an_operator_does_reaches_every_worker(operator, session, calm, engine):
    """T20: swap and roll back under load: no request fails, and both workers have changed."""
    admin = await operator("--engine", engine)
    [first, _] = await admin.each("bundle")
    answers, stop = [], asyncio.Event()
    asking = [
        asyncio.create_task(keep_asking(session, admin.router.url, f"{i}", answers, stop))
        for i in range(4)
    ]
    status, done = await admin("POST", "/tasks/urgent/bundle", {"bundle": calm})
    assert (status, [w["bundle"] for w in done["workers"]]) == (200, [calm, calm])
    labels = {a[1:3] for a in await ask_many(session, admin.router.url, "swapped", 30)}
    assert labels == {("calm", calm)}
    assert (await admin("POST", "/tasks/urgent/rollback"))[0] == 200
    assert await admin.each("bundle") == [first, first]
    await admin("POST", "/tasks/urgent/canary", {"bundle": calm, "share": 0.5})
    assert await admin.each("canary") == [calm, calm]
    await admin("POST", "/tasks/urgent/canary/end", {"promote": False})
    await admin("PUT", "/tasks/urgent/threshold", {"threshold": 1.5})
    assert await admin.each("raised_threshold") == [1.5, 1.5]
    await admin("PUT", "/tasks/urgent/threshold", {"threshold": None})
    stop.set()
    await asyncio.gather(*asking)
    statuses = Counter(status for _, (status, _, _, reason) in answers if reason == "confident")
    assert set(statuses) == {200}
    assert await asyncio.to_thread(admin.router.stop) == 0


async def test_a_worker_that_is_replaced_is_where_the_others_are(operator, session, calm):
    """After a swap, a canary and a drain, a killed worker comes back with all of them."""
    admin = await operator()
    [first, _] = await admin.each("bundle")
    await admin("POST", "/tasks/urgent/bundle", {"bundle": calm})
    await admin("POST", "/tasks/urgent/canary", {"bundle": first, "share": 0.25})
    await admin("PUT", "/drain", {"draining": True})
    os.kill(worker_of(admin.router, 1), signal.SIGKILL)
    await until_equal(lambda: admin.each("bundle"), [calm, None])
    for name, wanted in {
        "bundle": calm,
        "previous": first,
        "canary": first,
        "canary_share": 0.25,
    }.items():
        await until_equal(lambda name=name: admin.each(name), [wanted, wanted])
    assert await get(session, admin.router.url + "/readyz") == 503


async def test_mistakes_change_no_worker(operator, calm):
    """Without the token nothing is shown; what one worker refuses, no other does."""
    admin = await operator()
    for method, path in (("GET", "/state"), ("GET", "/metrics"), ("POST", "/drain")):
        assert (await admin(method, path, {}, token="wrong"))[0] == 401
    bundles = await admin.each("bundle")
    for body, status in (({"bundle": "0" * 12}, 409), ({"bundle": "x"}, 400), ({}, 400)):
        assert (await admin("POST", "/tasks/urgent/bundle", body))[0] == status
    assert (await admin("POST", "/tasks/nobody/rollback"))[0] == 404
    assert await admin.each("bundle") == bundles
    async with admin.session.get(
        admin.router.admin + "/metrics", headers={"authorization": f"Bearer {TOKEN}"}
    ) as response:
        text = await response.text()
    assert 'raisehand_worker_up{worker="1"} 1.0' in text
