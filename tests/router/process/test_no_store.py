"""PostgreSQL dies: what is leased is spent, then students answer on, until it is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

import aiohttp
import pytest

from router.database.migrate import migrate
from router.keys.ring import KeySpec, save_keys, sha256_of
from router.testing import FaultServer
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
KEY = {"authorization": "Bearer secret"}


@pytest.fixture
async def teacher():
    """Bills every call that it reads."""
    async with FaultServer(["NO", "YES"]) as server:
        yield server


async def asked(session, url, n):
    """Ask the teacher so often, one after the other; counts statuses and reasons."""
    found: Counter = Counter()
    for _ in range(n):
        question = {"text": "help me", "threshold": 1}
        async with session.post(url + "/v1/classify", json=question) as answer:
            await answer.read()
            found[answer.status, answer.headers.get("x-raisehand-reason")] += 1
    return found


async def test_no_store_no_new_lease_and_no_client_is_refused(
    serve, folder_of, teacher, make_postgres
):
    """Escalations degrade with their reason once the lease is spent, and go on afterwards."""
    price = {"usd_per_mtok_input": 1000, "usd_per_mtok_output": 0}
    folder = folder_of({"mode": "classify", "base_url": teacher.url, "price": price})
    limit = KeySpec(name="team", sha256=sha256_of("secret"), max_usd_per_day=Decimal(10))
    save_keys(folder / "keys.yaml", [limit])
    postgres = await asyncio.to_thread(make_postgres)
    url = postgres.create()
    migrate(url)
    keys = str(folder / "keys.yaml")
    router = await asyncio.to_thread(serve, "--keys", keys, at=folder, database_url=url)
    escalated, degraded = (200, "low_confidence"), (200, "key_escalations")
    async with aiohttp.ClientSession(headers=KEY) as session:
        assert set(await asked(session, router.url, 20)) == {escalated}
        postgres.kill()
        found: Counter = Counter()
        async with asyncio.timeout(PATIENCE_S):
            while not found[degraded]:
                found += await asked(session, router.url, 20)
        assert set(found) == {escalated, degraded}
        assert set(await asked(session, router.url, 20)) == {degraded}
        await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(PATIENCE_S):
            while degraded in await asked(session, router.url, 5):
                await asyncio.sleep(0.1)
        assert set(await asked(session, router.url, 20)) == {escalated}
    assert await asyncio.to_thread(router.stop) == 0
