"""A candidate of a running router: beside the old one, up by steps, out where it is worse."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest
from click.testing import CliRunner

from router.cli import main
from router.testing import FaultServer
from students.runtime.bundle import find_bundle, name_latest
from tests.waiting import PATIENCE_S

TOKEN = "a-token-of-some-length"
RULES = {"margin": 0.1, "cost_margin": 0.2, "steps": [0.3], "step_audits": 5}


@pytest.fixture
async def running(serve, folder_of, publish_bundle, monkeypatch):
    """Start routers with an admin port; the teacher calls everything calm."""
    monkeypatch.setenv("RAISEHAND_ADMIN_TOKEN", TOKEN)
    async with FaultServer(["calm", "urgent"]) as teacher, aiohttp.ClientSession() as session:

        async def start(serves, candidate, workers=1, **rules):
            at = folder_of(
                {
                    "mode": "classify", "base_url": teacher.url, "answers": {}, "timeout_s": 60,
                    "max_concurrency": 64,
                },
                audit_rate=1.0,
                promotion=RULES | rules,
            )  # fmt: skip
            bundles = {says: publish_bundle(at, says).id for says in ("calm", "urgent")}
            name_latest(at / ".raisehand" / "bundles", bundles[serves])
            router = await asyncio.to_thread(
                serve, "--workers", str(workers), "--admin-port", "0", at=at
            )
            made = _Running(router, session, at, bundles[serves], bundles[candidate])
            while None in await made.workers():
                await asyncio.sleep(0.05)
            return made

        yield start


class _Running:
    def __init__(self, router, session, at, current, candidate):
        self.router = router
        self.at = at
        self.current = current
        self.candidate = candidate
        self._session = session
        self._headers = {"authorization": f"Bearer {TOKEN}"}

    async def admin(self, method, path, body=None):
        async with self._session.request(
            method, self.router.admin + path, json=body, headers=self._headers
        ) as response:
            return response.status, await response.json()

    async def workers(self):
        _, state = await self.admin("GET", "/state")
        return state.get("workers", [state])

    async def states(self):
        return [worker["tasks"]["urgent"] for worker in await self.workers()]

    async def ask(self):
        url = self.router.url + "/v1/classify"
        async with self._session.post(url, json={"text": "help"}) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def until(self, true):
        """Send traffic until every worker is in a state."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            await asyncio.gather(*(self.ask() for _ in range(4)))
            states = await self.states()
            if all(true(state) for state in states):
                return states
        raise AssertionError(states)

    def command(self, *words):
        done = CliRunner().invoke(main, ["candidate", *words, "--admin", self.router.admin])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.output)


def _outlook(state):
    return (state["duel"] or {}).get("outlook")


async def test_a_better_one_is_shadowed_shown_and_promoted_step_by_step(running):
    """Two workers: no step before it is shown; then a share, then all; nobody's request fails."""
    made = await running("urgent", "calm", workers=2)
    shown = await asyncio.to_thread(made.command, "shadow", "urgent", made.candidate)
    assert [worker["shadow"] for worker in shown] == [made.candidate] * 2
    status, refusal = await made.admin("POST", "/tasks/urgent/promote", {})
    assert (status, "not shown" in refusal["error"]["message"]) == (409, True)
    assert (await made.ask())["raisehand"]["bundle"] == made.current
    await made.until(lambda state: _outlook(state) == "candidate_not_worse")
    [first, second] = await asyncio.to_thread(made.command, "promote", "urgent")
    assert (first["canary"], first["canary_share"]) == (made.candidate, 0.3)
    assert second["canary"] == made.candidate
    last = await asyncio.to_thread(made.command, "promote", "urgent")
    assert {(one["bundle"], one["shadow"], one["canary"]) for one in last} == {
        (made.candidate, None, None)
    }
    assert (await made.ask())["raisehand"]["bundle"] == made.candidate
    assert find_bundle(made.at / ".raisehand").id == made.candidate


async def test_a_worse_one_is_taken_out_by_the_router_itself(running):
    """It even had a share of the traffic; the old one serves all again, and an event says why."""
    made = await running("calm", "urgent", workers=2)
    await made.admin("POST", "/tasks/urgent/shadow", {"bundle": made.candidate})
    await made.admin("POST", "/tasks/urgent/canary", {"bundle": made.candidate, "share": 0.5})
    await made.until(lambda state: state["shadow"] is None and state["canary"] is None)
    assert {state["bundle"] for state in await made.states()} == {made.current}
    from router.shared.sqlite_store import STORE_FILE, SqliteStore

    store = SqliteStore(made.at / ".raisehand" / STORE_FILE)
    events = []
    while not events:  # told after what it tells of was done; the test's own limit ends it
        await asyncio.sleep(0.05)
        events = [event for event in store.events() if event.reason == "candidate_worse"]
    store.close()
    assert len(events) == 1
    assert events[0].figures["more_wrong"] > 0


async def test_it_takes_the_steps_itself_where_the_task_allows_it(running):
    """Opt-in: shown, a share, all of it, without a call."""
    made = await running("urgent", "calm", automatic=True)
    await made.admin("POST", "/tasks/urgent/shadow", {"bundle": made.candidate})
    seen = set()

    def done(state):
        seen.add(state["canary_share"])
        return state["bundle"] == made.candidate

    await made.until(done)
    assert 0.3 in seen or len(seen) == 1  # a busy machine may take both steps in one tick
    async with asyncio.timeout(PATIENCE_S):  # it answers first and is the latest then
        while find_bundle(made.at / ".raisehand").id != made.candidate:
            await asyncio.sleep(0.05)


async def test_a_shadow_answers_nobody_and_ends_when_told(running):
    """While it is scored every answer is the old one's; ended, it is gone."""
    made = await running("calm", "urgent", margin=0.9)
    await made.admin("POST", "/tasks/urgent/shadow", {"bundle": made.candidate})
    answers = [await made.ask() for _ in range(20)]
    assert {answer["raisehand"]["bundle"] for answer in answers} == {made.current}
    status, _ = await made.admin("POST", "/tasks/urgent/shadow", {"bundle": made.current})
    assert status == 409
    [state] = await asyncio.to_thread(made.command, "end", "urgent")
    assert (state["shadow"], state["duel"]) == (None, None)
    status, _ = await made.admin("POST", "/tasks/urgent/shadow/end", {})
    assert status == 409
    [state] = await asyncio.to_thread(made.command, "show", "urgent")
    assert state["bundle"] == made.current
