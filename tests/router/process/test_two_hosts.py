"""Two routers of two workers each on one PostgreSQL: what an operator tells one, all four do."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from router.insight.accuracy import read_accuracy
from router.keys.ring import KeySpec, save_keys, sha256_of
from students.runtime.bundle import find_bundle
from students.task import load_task
from tests.waiting import until_equal

pytestmark = pytest.mark.e2e
TOKEN = {"authorization": "Bearer a-token-of-some-length"}
REACH_S = 2.0
"""Within so long a change is everywhere."""
TRIES = 5


@pytest.fixture
async def hosts(serve, folder_of, publish_bundle, database, tmp_path):
    """Two routers with folders and keys of their own, and the id of another bundle of both."""
    first = folder_of({})
    base = find_bundle(load_task(first / "task.yaml").work_dir, None).id
    other = publish_bundle(first, "calm").id
    specs = [KeySpec(name=name, sha256=sha256_of(name)) for name in ("team", "gone")]
    save_keys(first / "keys.yaml", specs)
    second = tmp_path.with_name(tmp_path.name + "-second")
    shutil.copytree(first, second, symlinks=True)

    def start(folder):
        return serve(
            "--workers", "2", "--admin-port", "0", "--bundle", base,
            "--keys", str(folder / "keys.yaml"), at=folder,
            database_url=database, admin_token="a-token-of-some-length",
        )  # fmt: skip

    routers = await asyncio.gather(*(asyncio.to_thread(start, at) for at in (first, second)))
    return Hosts(routers, base, other, first / "keys.yaml", lambda: start(second))


@dataclass
class Hosts:
    """Both routers, two bundles, the first one's keys, and a way to start the second one again."""

    routers: list
    base: str
    other: str
    keys: Path
    again: Callable


async def states(session, hosts):
    """What all four workers say of the task; None: not there."""
    found = []
    for host in hosts:
        async with session.get(host.admin + "/state", headers=TOKEN) as response:
            workers = (await response.json())["workers"]
        found += [worker and worker["tasks"]["urgent"] for worker in workers]
    return found


async def ask(session, host, key):
    """Ask one of a host's workers; returns the status."""
    headers = {"x-api-key": key}
    async with session.post(
        host.url + "/v1/classify", json={"text": "help"}, headers=headers
    ) as response:
        await response.read()
        return response.status


async def test_changes_reach_all_workers_of_both_hosts(hosts, session):
    """A swap, a canary and a revoked key, each within two seconds, and no request fails.

    A machine with other work to do may be late, and is asked again, the other way round.
    """
    routers, keys = hosts.routers, hosts.keys

    async def each(name):
        return [state and state[name] for state in await states(session, routers)]

    await until_equal(lambda: each("bundle"), [hosts.base] * 4)
    statuses, stop = [], asyncio.Event()

    async def keep_asking(host):
        while not stop.is_set():
            statuses.append(await ask(session, host, "team"))

    asking = [asyncio.create_task(keep_asking(host)) for host in routers]

    async def change(what, method, body, name, wanted):
        began = time.monotonic()
        url = f"{routers[0].admin}/tasks/urgent/{what}"
        async with session.request(method, url, json=body, headers=TOKEN) as response:
            assert response.status == 200, await response.text()
        await until_equal(lambda: each(name), [wanted] * 4)
        return time.monotonic() - began

    async def hear_of(*names):
        save_keys(keys, [KeySpec(name=name, sha256=sha256_of(name)) for name in names])
        routers[0].process.send_signal(signal.SIGHUP)
        status = 200 if "gone" in names else 401

        async def told():
            return {await ask(session, host, "gone") for host in routers for _ in range(4)}

        return await until_equal(told, {status})

    new, old = hosts.other, hosts.base
    for tries in range(1, TRIES + 1):
        took = [
            await change("bundle", "POST", {"bundle": new}, "bundle", new),
            await change("bundle", "POST", {"bundle": new}, "bundle", new),  # no change
            await change("canary", "POST", {"bundle": old, "share": 0.25}, "canary", old),
            await change(
                "threshold", "PUT", {"threshold": tries / 10}, "raised_threshold", tries / 10
            ),
            await hear_of("team"),
        ]
        assert await each("previous") == [old] * 4
        assert await each("version") == [3 * tries] * 4
        if max(took) < REACH_S:
            break
        await hear_of("team", "gone")
        new, old = old, new
    stop.set()
    await asyncio.gather(*asking)
    assert set(statuses) == {200}
    assert max(took) < REACH_S


async def test_a_restart_comes_back_to_where_the_others_are(hosts, session):
    """After a swap a whole router is started again as it was: it serves what the others do."""
    url = hosts.routers[0].admin + "/tasks/urgent/bundle"
    async with session.post(url, json={"bundle": hosts.other}, headers=TOKEN) as response:
        assert response.status == 200

    async def each():
        return [state and state["bundle"] for state in await states(session, hosts.routers)]

    await until_equal(each, [hosts.other] * 4)
    assert await asyncio.to_thread(hosts.routers[1].stop) == 0
    hosts.routers[1] = await asyncio.to_thread(hosts.again)
    await until_equal(each, [hosts.other] * 4)


async def test_feedback_at_one_host_judges_what_the_other_answered(hosts, session, database):
    """Within seconds, and the pages of both hosts show the money of all requests."""
    routers, team = hosts.routers, {"x-api-key": "team"}
    for i, host in enumerate(routers):
        head = team | {"x-request-id": f"r-{i}"}
        url = host.url + "/v1/classify"
        async with session.post(url, json={"text": "help"}, headers=head) as response:
            label = (await response.json())["label"]
        other = routers[1 - i].url + "/v1/feedback"
        body = {"id": f"r-{i}", "gold": label}
        async with session.post(other, json=body, headers=team) as response:
            assert response.status == 200, await response.text()

    async def judged():
        found = await asyncio.to_thread(read_accuracy, database, "urgent")
        return found.all["cascade"].n if found.all else 0, found.unmatched

    await until_equal(judged, (2, 0))

    async def shown():
        found = []
        for host in routers:
            async with session.get(host.admin + "/board", headers=TOKEN) as response:
                money = (await response.json())["tasks"]["urgent"]["money"]
            found.append(money and money["month"] and money["month"]["requests"])
        return found

    await until_equal(shown, [2, 2])
