"""Two routers behind a real HAProxy with the shipped file: draining one fails no request."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
CONFIG = Path(__file__).parents[3] / "deploy/haproxy.cfg"


async def _ask_until(url, stop, statuses):
    async with aiohttp.ClientSession() as session:
        while not stop.is_set():
            async with session.post(url + "/v1/classify", json={"text": "help"}) as response:
                await response.read()
                statuses.append(response.status)


async def test_a_router_is_stopped_and_nobody_notices(serve, tmp_path, free_port_of):
    """SIGTERM turns it unready first; HAProxy takes it out before its port closes."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("no haproxy is installed")
    one = serve("--ledger", str(tmp_path / "one.sqlite"), drain_delay_s=4)
    two = serve("--ledger", str(tmp_path / "two.sqlite"), drain_delay_s=4)
    bind = f"127.0.0.1:{free_port_of()}"
    env = os.environ | {
        "RAISEHAND_BIND": bind,
        "RAISEHAND_ONE": one.url.removeprefix("http://"),
        "RAISEHAND_TWO": two.url.removeprefix("http://"),
    }
    balancer = subprocess.Popen([program, "-db", "-f", CONFIG], env=env)
    try:
        url, statuses, stop = f"http://{bind}", [], asyncio.Event()
        await _until_ready(url)
        asking = [asyncio.create_task(_ask_until(url, stop, statuses)) for _ in range(4)]
        await asyncio.sleep(1)
        code = asyncio.create_task(asyncio.to_thread(one.stop, signal.SIGTERM))
        assert await code == 0
        before = len(statuses)
        while len(statuses) < before + 50:
            await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*asking)
        assert set(statuses) == {200}
    finally:
        balancer.terminate()
        balancer.wait(PATIENCE_S)


async def _until_ready(url):
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            try:
                async with session.get(url + "/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("the balancer has no router")
