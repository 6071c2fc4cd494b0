"""From signal to exit: nobody is cut off without a word, and nothing paid is left unbooked."""

from __future__ import annotations

import asyncio
import signal
import time

import aiohttp
import pytest
from aiohttp import web

from router.keys.ring import KeySpec, load_keys, save_keys, sha256_of
from router.ledger.read import read_entries
from router.policy import Reason, Route
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
TOKEN = "a-long-enough-admin-token"
UNSURE = {"text": "help", "threshold": 1}
CHAT = {"model": "big", "messages": [{"role": "user", "content": "Hi"}]}
BOTH = [("/v1/classify", UNSURE), ("/v1/chat/completions", CHAT)]
TOP = [{"token": "YES", "logprob": -0.01}, {"token": "NO", "logprob": -5}]
COMPLETION = {
    "model": "big",
    "choices": [
        {
            "message": {"role": "assistant", "content": "YES"},
            "logprobs": {"content": [{"token": "YES", "logprob": -0.01, "top_logprobs": TOP}]},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 1},
}


class Teacher:
    """Answers when it is told to, once the router has started; says when it is asked."""

    def __init__(self):
        self.waits = False
        self.asked = asyncio.Semaphore(0)
        self.release = asyncio.Event()

    async def handle(self, request):
        """Serve one call."""
        if self.waits:
            self.asked.release()
            await self.release.wait()
        return web.json_response(COMPLETION)


@pytest.fixture
async def teacher():
    """The teacher of the router under test."""
    return Teacher()


@pytest.fixture
async def started(teacher, upstream, folder_of, serve, tmp_path):
    """Start a router in front of that teacher."""

    async def start(*arguments, **environment):
        url = await upstream(teacher.handle)
        at = folder_of({"base_url": url, "timeout_s": 30})
        ledger = ("--ledger", str(tmp_path / "l.sqlite"))
        router = await asyncio.to_thread(serve, *ledger, *arguments, at=at, **environment)
        teacher.waits = True
        return router

    return start


@pytest.fixture
def booked(tmp_path):
    """The ledger's rows, once the router has ended."""
    return lambda: list(read_entries(tmp_path / "l.sqlite"))


async def post(session, url, body):
    """Status and reason of an answer."""
    async with session.post(url, json=body) as response:
        await response.read()
        return response.status, response.headers.get("x-raisehand-reason")


async def ended(router):
    """The exit code."""
    return await asyncio.to_thread(router.process.wait, PATIENCE_S)


@pytest.mark.parametrize(("path", "body"), BOTH)
async def test_drained_by_an_operator_and_then_stopped_it_still_finishes(
    started, teacher, booked, path, body
):
    """The documented flow: PUT /drain, then SIGTERM, is one drain and no second signal."""
    router = await started("--admin-port", "0", admin_token=TOKEN)
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(post(session, router.url + path, body))
        await teacher.asked.acquire()
        headers = {"authorization": f"Bearer {TOKEN}"}
        drain = {"draining": True}
        async with session.put(router.admin + "/drain", json=drain, headers=headers) as response:
            assert response.status == 200
        router.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        teacher.release.set()
        assert (await asking)[0] == 200
    assert await ended(router) == 0
    [entry] = booked()
    assert (entry.route, entry.attempts) == (Route.TEACHER, 1)


@pytest.mark.parametrize(("path", "body"), BOTH)
async def test_what_takes_longer_than_the_drain_is_cut_off_with_a_word_and_booked(
    started, teacher, booked, path, body
):
    """The teacher was paid, so the ledger has it; the client is told to ask elsewhere."""
    router = await started(drain_timeout_s=1)
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(post(session, router.url + path, body))
        await teacher.asked.acquire()
        router.process.send_signal(signal.SIGTERM)
        status, reason = await asking
    assert await ended(router) == 0
    [entry] = booked()
    assert (entry.reason, entry.attempts, entry.estimated) == (Reason.ROUTER_STOPPED, 1, True)
    assert entry.teacher_usd > 0
    if path == "/v1/classify":
        assert (status, reason) == (503, "router_stopped")


async def test_a_client_that_left_before_the_signal_is_booked(started, booked):
    """It hung up while the teacher worked, and then the router was stopped."""
    router = await started()
    timeout = aiohttp.ClientTimeout(total=0.5)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with pytest.raises(asyncio.TimeoutError):
            await post(session, router.url + "/v1/classify", UNSURE)
    router.process.send_signal(signal.SIGTERM)
    assert await ended(router) == 0
    [entry] = booked()
    assert (entry.reason, entry.attempts) == (Reason.CLIENT_GONE, 1)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_reads_the_keys_again(started, tmp_path, workers):
    """A removed key is refused without a restart; a damaged file changes nothing."""
    path = tmp_path / "keys.yaml"
    save_keys(path, [KeySpec(name=name, sha256=sha256_of(name)) for name in ("one", "two")])
    router = await started("--keys", str(path), "--workers", str(workers))

    async def until(session, key, status):
        give_up_at = time.monotonic() + PATIENCE_S
        headers = {"authorization": f"Bearer {key}", "connection": "close"}
        found = []
        while found[-8:] != [status] * 8:
            async with session.get(router.url + "/v1/models", headers=headers) as response:
                found.append(response.status)
            assert time.monotonic() < give_up_at, found

    async with aiohttp.ClientSession() as session:
        await until(session, "one", 200)
        await asyncio.sleep(1.0 * (workers > 1))  # the other worker may still be starting
        save_keys(path, [spec for spec in load_keys(path) if spec.name == "two"])
        router.process.send_signal(signal.SIGHUP)
        await until(session, "one", 401)
        path.write_text("keys: 3")
        router.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.3)
        await until(session, "two", 200)
    assert await asyncio.to_thread(router.stop) == 0
