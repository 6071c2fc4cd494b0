"""A real router in front of students on a real Ray Serve: the same answers, also after kills."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import pytest

from router.bench.on_ray.cluster import ray_serve_of
from router.student.remote_student import RemoteStudent
from students.errors import BadBundle
from students.runtime.bundle import find_bundle
from students.runtime.load import load_student
from tests.waiting import until_seen

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def deployed(folder, tmp_path_factory):
    """Ray Serve with two replicas of the folder's bundle; its address and the process."""
    bundle, into = find_bundle(folder / ".raisehand"), tmp_path_factory.mktemp("serve")
    with ray_serve_of(bundle, 2, into) as served:
        yield served


def replicas(process):
    """Process ids of the replicas that a Ray Serve of ours holds."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            if "ServeReplica:students" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


@pytest.fixture
async def load():
    """Eight clients that ask a router until told to stop; what came of each request."""
    async with aiohttp.ClientSession() as session:
        seen, stop = [], asyncio.Event()

        async def keep_asking(url):
            while not stop.is_set():
                async with session.post(f"{url}/v1/classify", json={"text": "help"}) as response:
                    await response.read()
                    seen.append((response.status, response.headers.get("x-raisehand-reason")))

        tasks = []

        def start(url):
            tasks.extend(asyncio.create_task(keep_asking(url)) for _ in range(8))
            return seen

        async def end():
            stop.set()
            await asyncio.gather(*tasks)

        yield start, end
        await end()


def test_answers_are_those_of_a_student_here(folder, deployed):
    """Labels, confidences and probabilities to the bit; a bundle that is not there is named."""
    address, _ = deployed
    bundle = find_bundle(folder / ".raisehand")
    own, schema = load_student(bundle), bundle.manifest.schema_
    there = RemoteStudent(schema, address, bundle.path)
    texts = [f"text {i} of many" for i in range(300)]
    for one, other in zip(own.predict(texts), there.predict(texts), strict=True):
        assert (one.label, one.confidence) == (other.label, other.confidence)
        assert np.array_equal(one.probabilities, other.probabilities)
    with pytest.raises(BadBundle, match=f"{bundle.id} there, and 0123456789ab is asked for"):
        RemoteStudent(schema, address, Path("bundles/0123456789ab"))


async def test_a_killed_replica_costs_no_answer(serve, deployed, load, tmp_path):
    """One of two, under load: what it had is asked of the other, and it is replaced."""
    address, process = deployed
    router = await asyncio.to_thread(
        serve, "--engine", str(address), "--ledger", str(tmp_path / "l.sqlite")
    )
    start, end = load
    seen = start(router.url)
    await asyncio.sleep(1)
    before = replicas(process)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)

    async def replaced():
        now = replicas(process)
        return len(now) == 2 and before[0] not in now

    await until_seen(replaced)
    await end()
    assert set(seen) == {(200, "confident")}
    assert len(seen) > 50


async def test_without_a_replica_the_teacher_is_asked(serve, deployed, load, tmp_path):
    """Both killed: as without an engine, everybody is told, the router is unready and comes back.

    The teacher of this test is away, so what is escalated is refused with its reason.
    """
    address, process = deployed
    router = await asyncio.to_thread(
        serve, "--engine", str(address), "--ledger", str(tmp_path / "l.sqlite"), stall_s=1
    )
    start, end = load
    seen = start(router.url)
    await asyncio.sleep(1)
    for pid in replicas(process):
        os.kill(pid, signal.SIGKILL)
    killed = len(seen)

    async def back():
        return len(seen) > killed + 50 and set(seen[-20:]) == {(200, "confident")}

    await until_seen(back)
    await end()
    assert set(seen[-20:]) == {(200, "confident")}
    assert set(seen) <= {
        (200, "confident"), (503, "teacher_unavailable"), (503, "breaker_open"),
        (503, "retry_budget"), (503, "teacher_busy"), (504, "deadline"),
    }  # fmt: skip
