"""A dollar a day for a key: four workers of two hosts on one PostgreSQL spend it, and once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import Counter
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from router.keys.ring import KeySpec, save_keys, sha256_of
from router.ledger.read import read_totals
from router.testing import FaultServer

pytestmark = pytest.mark.e2e
LIMIT = Decimal(1)
A_CALL = Decimal("0.002")
"""Two words at a thousandth of a dollar each."""
PACE = 100
"""Requests a second."""
WORKERS = 4
KEY = {"authorization": "Bearer secret"}


@pytest.fixture
async def teacher():
    """Bills every call that it reads."""
    async with FaultServer(["NO", "YES"]) as server:
        server.latency_s = 0.02
        yield server


@pytest.fixture
def hosts(folder_of, teacher, tmp_path):
    """Two folders with the task and its keys, as two machines would have."""
    price = {"usd_per_mtok_input": 1000, "usd_per_mtok_output": 0}
    first = folder_of({"mode": "classify", "base_url": teacher.url, "price": price})
    limit = KeySpec(name="team", sha256=sha256_of("secret"), max_usd_per_day=LIMIT)
    save_keys(first / "keys.yaml", [limit])
    second = tmp_path.with_name(tmp_path.name + "-second")
    shutil.copytree(first, second)
    return [first, second]


@pytest.fixture
def start(serve, hosts, database):
    """Start a router of two workers on each host."""

    async def both():
        starting = [
            asyncio.to_thread(
                serve, "--workers", "2", "--keys", str(host / "keys.yaml"),
                at=host, database_url=database,
            )
            for host in hosts
        ]  # fmt: skip
        return await asyncio.gather(*starting)

    return both


async def drive(routers, seconds, stop=lambda found: False):
    """Ask the teacher through every router in turn, open loop; returns statuses and reasons."""
    found: Counter = Counter()
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=KEY) as session:

        async def ask(url):
            question = {"text": "help me", "threshold": 1}
            try:
                async with session.post(url + "/v1/classify", json=question) as answer:
                    await answer.read()
                    found[answer.status, answer.headers.get("x-raisehand-reason")] += 1
            except aiohttp.ClientError:  # it came to the worker that was killed
                found["killed"] += 1

        asking = []
        for n in range(int(seconds * PACE)):
            if stop(found):
                break
            asking.append(asyncio.create_task(ask(routers[n % len(routers)].url)))
            await asyncio.sleep(1 / PACE)
        await asyncio.gather(*asking)
    return found


def worker_of(router):
    """Process id of one of its workers."""
    children = Path(f"/proc/{router.process.pid}/task/{router.process.pid}/children").read_text()
    return next(
        int(child)
        for child in children.split()
        if "--worker" in Path(f"/proc/{child}/cmdline").read_text().split("\0")
    )


def invoice(teacher):
    """What the teacher bills."""
    return teacher.billed_input * A_CALL / 2


async def test_four_workers_of_two_hosts_spend_a_dollar_once(start, hosts, teacher):
    """With a worker killed and both routers restarted on the way: the rest is there, no more is."""
    routers = await start()
    await drive(routers, 20, stop=lambda _: invoice(teacher) > Decimal("0.3"))
    os.kill(worker_of(routers[0]), signal.SIGKILL)
    await drive(routers, 20, stop=lambda _: invoice(teacher) > Decimal("0.6"))
    for router in routers:
        assert await asyncio.to_thread(router.stop) == 0
    before = invoice(teacher)
    routers = await start()
    found = await drive(routers, 30, stop=lambda found: found[429, None] > 2 * PACE)
    assert before < Decimal("0.8")
    assert {status for status, _ in found} == {200, 429}
    last = await drive(routers, 1)
    assert {status for status, _ in last} == {429}
    for router in routers:
        assert await asyncio.to_thread(router.stop) == 0
    booked = sum(
        read_totals(host / ".raisehand" / "ledger.sqlite").all.teacher_usd for host in hosts
    )
    # Each worker that starts asks the teacher once on its own account; the kill cut calls off.
    unbooked = invoice(teacher) - booked
    assert 9 * A_CALL <= unbooked <= 20 * A_CALL
    assert Decimal("0.95") <= booked <= LIMIT + WORKERS * 2 * A_CALL, found
