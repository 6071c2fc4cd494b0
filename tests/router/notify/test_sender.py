"""Events arrive in their order, at least once, from one sender of many."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time

import aiohttp
import pytest
from click.testing import CliRunner

from router.cli import main
from router.notify import sender as module
from router.notify.sender import GIVE_UP_S, LEASE_S, Sender
from router.notify.webhook import Webhook
from router.shared.records import Event
from router.shared.sqlite_store import SqliteStore
from router.testing import FaultServer
from students.sections import WebhookSection
from tests.waiting import PATIENCE_S


@pytest.fixture
def store(tmp_path):
    """The store of all workers."""
    store = SqliteStore(tmp_path / "shared.sqlite")
    yield store
    store.close()


def happen(store, *reasons, at=None):
    """Record events."""
    for reason in reasons:
        store.record(
            Event(
                at=at or time.time(),
                task="urgent",
                bundle="b",
                kind="verdict",
                reason=reason,
                actor="test",
            )
        )


@contextlib.asynccontextmanager
async def sending(store, task, receiver, holder="one", **options):
    """Run a sender."""
    hook = Webhook(task, WebhookSection(url=receiver.url), {})
    sender = Sender(store, hook, holder, tick_s=0.01, first_pause_s=0.01, **options)
    sender.start()
    try:
        yield sender
    finally:
        await sender.close()


async def leased(store):
    """Wait until somebody has the lease: what happened before is nobody's news."""
    while True:
        with store.transaction() as execute:
            rows = execute("select holder from deliveries where holder <> ''", ())
        if rows:
            return rows[0][0]
        await asyncio.sleep(0.005)


async def test_what_was_not_taken_is_sent_again_and_the_order_stays(store, task, receive):
    """It fails twice, then takes it; those behind wait."""
    receiver = await receive(statuses=[500, 503])
    happen(store, "before_anybody_asked")
    async with sending(store, task, receiver) as sender:
        await leased(store)
        happen(store, "first", "second", "third")
        await receiver.got(3)
        await asyncio.sleep(0.05)
        assert (sender.delivered, sender.failures, sender.given_up) == (3, 2, 0)
    assert [one["reason"] for one in receiver.taken] == ["first", "second", "third"]
    ids = [head["x-raisehand-event"] for head in receiver.heads]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 3


async def test_a_slow_one_is_tried_again_under_the_same_id(store, task, receive, monkeypatch):
    """Its receipt came too late: it gets the event twice, and can tell."""
    from router.notify import webhook

    monkeypatch.setattr(webhook, "ANSWER_S", 0.1)
    receiver = await receive(slow_s=0.3)
    async with sending(store, task, receiver):
        await leased(store)
        happen(store, "first")
        while len(receiver.bodies) < 2:
            await asyncio.sleep(0.01)
        receiver.slow_s = 0.0
        await receiver.got(1)
    assert len({head["x-raisehand-event"] for head in receiver.heads}) == 1


async def test_one_of_many_workers_sends(store, task, receive):
    """Three workers, one receipt for each event; the next goes on when the first is gone."""
    receiver = await receive()
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(sending(store, task, receiver, name))
            for name in ("one", "two", "three")
        ]
        first = await leased(store)
        happen(store, "a", "b")
        await receiver.got(2)
        await asyncio.sleep(0.1)
        [holder] = [worker for worker in workers if worker.delivered]
        assert (holder._holder, holder.delivered) == (first, 2)
        await holder.close()
        happen(store, "c")
        await receiver.got(3)
        await asyncio.sleep(0.1)
    assert [one["reason"] for one in receiver.taken] == ["a", "b", "c"]


@pytest.mark.parametrize("question", ["lease", "advance"])
async def test_who_leaves_while_it_asks_the_store_is_waited_for(
    question, store, task, receive, monkeypatch
):
    """A thread that still takes the lease, or notes a receipt, comes before the lease goes back."""
    asked, ask = threading.Event(), getattr(store, question)

    def slow(*words):
        asked.set()
        time.sleep(0.3)
        return ask(*words)

    receiver = await receive()
    async with sending(store, task, receiver) as sender:
        await leased(store)
        happen(store, "a")
        await receiver.got(1)
        monkeypatch.setattr(store, question, slow)
        happen(store, "b")
        await asyncio.to_thread(asked.wait, PATIENCE_S)
        await sender.close()
    await asyncio.sleep(0.5)
    monkeypatch.undo()
    cursor = store.lease(sender.webhook.name, "next", time.time(), LEASE_S)
    assert cursor == len(receiver.taken)


def test_the_lease_of_a_dead_worker_runs_out(store):
    """Until then nobody else sends; then the next does, from where it stood."""
    assert store.lease("r", "dead", 100.0, LEASE_S) == 0
    happen(store, "a")
    store.advance("r", "dead", 1)
    assert store.lease("r", "next", 100.0 + LEASE_S - 1, LEASE_S) is None
    assert store.lease("r", "next", 100.0 + LEASE_S, LEASE_S) == 1
    store.advance("r", "dead", 7)  # it was not dead: what it says now counts for nothing
    assert store.lease("r", "next", 101.0 + LEASE_S, LEASE_S) == 1
    assert store.lease("r", "dead", 101.0 + LEASE_S, LEASE_S) is None


async def test_a_restart_goes_on_where_it_stood(store, task, receive):
    """What happened while nobody ran is sent, what was taken is not sent again."""
    receiver = await receive()
    async with sending(store, task, receiver):
        await leased(store)
        happen(store, "a")
        await receiver.got(1)
        await asyncio.sleep(0.05)
    happen(store, "b")
    async with sending(store, task, receiver, "after"):
        await receiver.got(2)
    assert [one["reason"] for one in receiver.taken] == ["a", "b"]


async def test_a_day_later_it_is_given_up_and_counted(store, task, receive):
    """A receiver that refuses one event for ever does not keep the next ones."""
    receiver = await receive(statuses=[400])
    async with sending(store, task, receiver) as sender:
        await leased(store)
        happen(store, "old", at=time.time() - GIVE_UP_S - 60)
        happen(store, "new")
        await receiver.got(1)
        assert sender.given_up == 1
    assert receiver.taken[0]["reason"] == "new"


async def test_back_off_doubles_up_to_its_bound(store, task, receive, monkeypatch):
    """Whoever is down is not hammered."""
    receiver = await receive()
    sender = Sender(store, Webhook(task, WebhookSection(url=receiver.url), {}), "one")
    monkeypatch.setattr(sender._rng, "uniform", lambda low, high: high)
    pauses = []
    for failed in (1, 2, 3, 5, 50):
        sender._failed_in_a_row = failed
        pauses.append(sender._pause())
    assert pauses == [1.0, 2.0, 4.0, 16.0, module.LONGEST_PAUSE_S]


async def test_an_alarm_of_a_running_router_arrives_once(serve, folder_of, receive):
    """Two workers over real HTTP: audits disagree, the alarm is told once, its figures with it."""
    receiver = await receive(statuses=[500])
    async with FaultServer(["calm", "urgent"]) as teacher:
        at = folder_of(
            {
                "mode": "classify", "base_url": teacher.url, "answers": {},
                "max_concurrency": 64, "timeout_s": 60,
            },
            audit_rate=1.0,
            webhooks=[{"url": receiver.url}],
        )  # fmt: skip
        router = await asyncio.to_thread(serve, "--workers", "2", at=at)
        async with aiohttp.ClientSession(router.url) as client:
            async with asyncio.timeout(PATIENCE_S):
                while not receiver.taken:
                    async with client.post("/v1/classify", json={"text": "help"}) as response:
                        await response.read()
                    await asyncio.sleep(0.02)
            await asyncio.sleep(1.5)
        await asyncio.to_thread(router.stop)
    [alarm] = [one for one in receiver.taken if one["reason"] == "promise_broken"]
    assert alarm["figures"]["disagreements"] > 0
    assert len(receiver.heads) >= 2


def test_the_command_says_who_was_reached(folder_of, free_port_of):
    """A receiver that is away is an exit code, and its name."""
    at = folder_of({}, webhooks=[{"url": f"http://127.0.0.1:{free_port_of()}/x"}])
    done = CliRunner().invoke(main, ["webhook", "test", "--task", str(at / "task.yaml")])
    assert done.exit_code == 1
    assert "127.0.0.1 (json): it cannot be reached" in done.output
    at = folder_of({})
    done = CliRunner().invoke(main, ["webhook", "test", "--task", str(at / "task.yaml")])
    assert "names no webhooks" in str(done.exception)


async def test_the_command_reaches_a_receiver(folder_of, receive):
    """One event of kind test to each, in its own form."""
    receiver = await receive()
    at = folder_of({}, webhooks=[{"url": receiver.url}, {"kind": "slack", "url": receiver.url}])
    done = await asyncio.to_thread(
        CliRunner().invoke, main, ["webhook", "test", "--task", str(at / "task.yaml")]
    )
    assert (done.exit_code, done.output.count("taken")) == (0, 2)
    assert receiver.taken[0]["kind"] == "test"
    assert "test" in json.dumps(receiver.taken[1])
