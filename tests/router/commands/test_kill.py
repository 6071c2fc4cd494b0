"""Everything is killed in turn under load: no student's answer fails, and the money adds up."""

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import closing
from decimal import Decimal

import aiohttp
import psutil
import psycopg
import pytest

from router.database.migrate import migrate
from router.ledger.merged import totals_of
from router.testing import FaultServer
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
USD_PER_TOKEN = Decimal("0.0001")
CENT = Decimal("0.01")
SURE_RATE, UNSURE_RATE = 200, 20
MOST_AT_ONCE = 64
"""A machine too busy for the rate is asked what it can answer: overload is refused, not lost."""


class Hosts:
    """Two routers with ledgers of their own; whoever finds one gone asks the other."""

    def __init__(self):
        self.urls, self.ledgers = {}, {}
        self.answered, self.failed = 0, []

    async def ask(self, session, body, first):
        """Ask once, and once more elsewhere where nobody answered."""
        heard = []
        for name in (first, *(name for name in list(self.urls) if name != first)):
            try:
                async with session.post(self.urls[name] + "/v1/classify", json=body) as response:
                    if response.status == 200:
                        self.answered += 1
                        return
                    heard.append((name, response.status, await response.text()))
            except (aiohttp.ClientError, OSError) as error:
                heard.append((name, repr(error)))
        self.failed.append(heard)

    async def load(self, stop):
        """Sure texts are the student's; every so many one asks for more certainty than it has."""
        timeout = aiohttp.ClientTimeout(total=20)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            pending, i, start = set(), 0, time.monotonic()
            while not stop.is_set():
                body = {"text": f"please help me now {i}"}
                if i % (SURE_RATE // UNSURE_RATE) == 0:
                    body["threshold"] = 1.0
                first = ("one", "two")[i % 2]
                pending.add(asyncio.create_task(self.ask(session, body, first)))
                if len(pending) >= MOST_AT_ONCE:
                    await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                pending = {task for task in pending if not task.done()}
                i += 1
                await asyncio.sleep(max(0.0, start + i / SURE_RATE - time.monotonic()))
            await asyncio.gather(*pending)


def rows_of(path):
    """Rows and dollars in one ledger's file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("select count(*), sum(teacher_pusd) from entries").fetchone()


@pytest.fixture
def router_at(serve, folder_of, tmp_path):
    """Start a router on a ledger of its own, with a teacher that bills and a database."""

    def make(teacher, url):
        usd = float(USD_PER_TOKEN) * 1_000_000
        price = {"usd_per_mtok_input": usd, "usd_per_mtok_output": usd}
        teacher = {"mode": "classify", "base_url": teacher.url, "answers": {}, "price": price}
        at = folder_of(teacher | {"timeout_s": 10})

        async def start(hosts, name, *options):
            ledger = tmp_path / name / "ledger.sqlite"
            router = await asyncio.to_thread(
                serve, "--ledger", str(ledger), *options, at=at, database_url=url
            )
            hosts.urls[name], hosts.ledgers[name] = router.url, ledger
            return router

        return start

    return make


async def kill_all_in_turn(start, hosts, server):
    """A worker, the database, a supervisor, a router; each comes back as a service would."""
    one, two = await start(hosts, "one", "--workers", "2"), await start(hosts, "two")
    stop = asyncio.Event()
    load = asyncio.create_task(hosts.load(stop))
    await asyncio.sleep(2)

    children = psutil.Process(one.process.pid).children()
    os.kill(children[0].pid, signal.SIGKILL)  # perhaps the one that ships
    await asyncio.sleep(3)
    server.kill()
    await asyncio.sleep(3)
    before = hosts.answered
    await asyncio.sleep(1)
    assert hosts.answered > before  # without a database all goes on
    one.process.kill()
    one.process.wait()
    psutil.wait_procs(children, timeout=PATIENCE_S)
    one = await start(hosts, "one", "--workers", "2")
    await asyncio.to_thread(server.start)
    await asyncio.sleep(1)
    two.process.kill()
    two.process.wait()
    two = await start(hosts, "two")
    await asyncio.sleep(2)

    stop.set()
    await load
    for router in (one, two):
        assert await asyncio.to_thread(router.stop) == 0


async def test_whatever_is_killed_the_merged_ledger_is_the_invoice(router_at, make_postgres):
    """Rows of all hosts are there once, and their dollars are the teacher's to the cent."""
    server, hosts = make_postgres(), Hosts()
    url = server.create()
    migrate(url)
    async with FaultServer(["calm", "urgent"]) as teacher:
        teacher.latency_s = 0.01
        await kill_all_in_turn(router_at(teacher, url), hosts, server)
        invoice = USD_PER_TOKEN * (teacher.billed_input + teacher.billed_output)
    assert hosts.failed == []
    assert hosts.answered > 500
    files = [rows_of(path) for path in hosts.ledgers.values()]
    with psycopg.connect(url) as connection:
        found, distinct = connection.execute(
            'select count(*), count(distinct (instance, "row")) from raisehand.decisions'
        ).fetchone()
    assert found == distinct == sum(rows for rows, _ in files)
    merged = totals_of(url).all
    assert merged.requests == found
    assert merged.teacher_usd == Decimal(sum(usd for _, usd in files)).scaleb(-12)
    assert invoice > 10 * CENT
    assert abs(merged.teacher_usd - invoice) < CENT, merged
