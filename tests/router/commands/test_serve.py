"""`raisehand serve` as a process: start, answer, drain, several workers, clear faults."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import aiohttp
import openai
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from costmodel.processes import free_port
from router.keys.ring import KeySpec, save_keys, sha256_of
from tests.waiting import PATIENCE_S, until_equal

pytestmark = pytest.mark.e2e


def rows(path):
    """How many entries a ledger has."""
    with sqlite3.connect(path) as connection:
        return connection.execute("select count(*) from entries").fetchone()[0]


async def ask_until(url, stop, counts, session):
    """Ask one question after the other until told to stop."""
    while not stop.is_set():
        async with session.post(url + "/v1/classify", json={"text": "help"}) as response:
            await response.read()
            counts.append(response.status)


def test_the_openai_sdk_gets_the_teachers_word(serve, tmp_path):
    """Pointed at the router, the SDK gets the answer as the teacher would word it, both ways."""
    router = serve("--ledger", str(tmp_path / "l.sqlite"))
    client = openai.OpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0)
    messages = [
        {"role": "system", "content": "Say it."},
        {"role": "user", "content": "Message: help\nUrgent?"},
    ]
    whole = client.chat.completions.create(model="big", messages=messages)
    assert whole.choices[0].message.content == "YES"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens > 0
    stream = client.chat.completions.create(
        model="big", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    words = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert words == "YES"
    assert chunks[-1].usage.total_tokens > 0
    assert router.stop() == 0
    assert rows(tmp_path / "l.sqlite") == 2


async def test_the_port_answers_only_when_everything_is_warm(serve, tmp_path):
    """T19: from the start on, the first answer that anybody gets is a ready one."""
    port = free_port()
    ledger = str(tmp_path / "l.sqlite")
    starting = asyncio.create_task(
        asyncio.to_thread(serve, "--port", str(port), "--ledger", ledger)
    )
    refused, first = 0, None
    async with aiohttp.ClientSession() as session:
        while first is None:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    first = response.status
            except aiohttp.ClientError:
                refused += 1
                await asyncio.sleep(0.01)
    assert refused > 0
    assert first == 200
    await starting


async def test_sigterm_under_load_fails_nobody(serve, tmp_path):
    """Unready first, in-flight requests finish, connections are told to go, the ledger is whole."""
    router = serve("--ledger", str(tmp_path / "l.sqlite"), drain_delay_s=0.3)
    stop, statuses = asyncio.Event(), []
    async with aiohttp.ClientSession() as session:
        askers = [
            asyncio.create_task(ask_until(router.url, stop, statuses, session)) for _ in range(8)
        ]
        await asyncio.sleep(0.5)
        router.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        async with session.get(router.url + "/readyz") as response:
            assert response.status == 503
            assert response.headers["connection"] == "close"
        async with session.get(router.url + "/healthz") as response:
            assert response.status == 200
        stop.set()
        await asyncio.gather(*askers)
    assert await asyncio.to_thread(router.process.wait, PATIENCE_S) == 0
    assert set(statuses) == {200}
    assert rows(tmp_path / "l.sqlite") == len(statuses) > 50


async def test_drain_then_sigterm_is_a_drain(serve, tmp_path):
    """An operator drains, then the process is told to stop: what is in flight is still answered."""
    token = "t" * 16
    router = serve("--ledger", str(tmp_path / "l.sqlite"), "--admin-port", "0", admin_token=token)
    headers = {"authorization": f"Bearer {token}"}
    reader, writer = await asyncio.open_connection("127.0.0.1", int(router.url.rpartition(":")[2]))
    writer.write(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{")
    await writer.drain()
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.put(router.admin + "/drain", json={"draining": True}) as response,
    ):
        assert response.status == 200
    router.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert router.process.poll() is None
    writer.write(b'"text": "help"}')
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert await asyncio.to_thread(router.process.wait, PATIENCE_S) == 0
    assert rows(tmp_path / "l.sqlite") == 1


async def test_it_listens_on_a_unix_socket(serve, tmp_path):
    """A stale socket is replaced, a live one is not taken, and none is left behind."""
    path = tmp_path / "router.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    router = serve("--ledger", str(tmp_path / "l.sqlite"), uds=path)
    assert router.url == f"unix:{path}"
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post("http://router/v1/classify", json={"text": "help"}) as response,
    ):
        assert response.status == 200
    with pytest.raises(AssertionError, match="another process listens"):
        serve("--ledger", str(tmp_path / "l.sqlite"), uds=path)
    assert router.stop() == 0
    assert not path.exists()
    assert rows(tmp_path / "l.sqlite") == 1


async def test_a_second_sigterm_leaves_now(serve, tmp_path):
    """While a drain waits, a second signal ends it at once; what was answered is stored."""
    router = serve("--ledger", str(tmp_path / "l.sqlite"), drain_delay_s=3600)
    async with aiohttp.ClientSession() as session:
        async with session.post(router.url + "/v1/classify", json={"text": "help"}) as response:
            assert response.status == 200
        router.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert router.process.poll() is None
        router.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(router.process.wait, PATIENCE_S) == 0
    assert rows(tmp_path / "l.sqlite") == 1


async def test_a_full_house_is_refused_unparsed(serve, tmp_path):
    """With one request allowed in work, most of a crowd gets a fast 429; the rest is answered."""
    router = serve("--ledger", str(tmp_path / "l.sqlite"), max_in_work=1)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask():
            started = time.perf_counter()
            async with session.post(router.url + "/v1/classify", json={"text": "help"}) as response:
                return response.status, await response.json(), time.perf_counter() - started

        await asyncio.gather(*[ask() for _ in range(50)])
        answers = [a for _ in range(5) for a in await asyncio.gather(*[ask() for _ in range(50)])]
        statuses = [status for status, _, _ in answers]
        assert set(statuses) == {200, 429}
        refused = next(body for status, body, _ in answers if status == 429)
        assert refused["error"]["type"] == "overloaded_error"
        async with session.get(router.url + "/metrics") as response:
            text = await response.text()
        counted = re.search(r"(?m)^raisehand_turned_away_unread_total (\S+)", text)
        assert float(counted[1]) >= statuses.count(429)
    assert router.stop() == 0


async def test_two_workers_share_a_port_and_their_metrics(serve, tmp_path):
    """Both answer, one scrape has both, a killed one is replaced, all drain on one SIGTERM."""
    ledger = tmp_path / "l.sqlite"
    router = serve("--workers", "2", "--ledger", str(ledger))
    answered = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:

        async def ask(n):
            nonlocal answered
            for _ in range(n):
                with_ok = await _post(session, router.url)
                answered += with_ok == 200

        async def scrape():
            async with session.get(router.url + "/metrics") as response:
                return list(text_string_to_metric_families(await response.text()))

        async def workers_up():
            families = {f.name: f for f in await scrape()}
            return sum(s.value for s in families["raisehand_worker_up"].samples)

        await until_equal(workers_up, 2)
        await ask(60)
        by_worker = {}
        for family in await scrape():
            for sample in family.samples:
                if sample.name == "raisehand_requests_total":
                    worker = sample.labels["worker"]
                    by_worker[worker] = by_worker.get(worker, 0) + sample.value
        assert sum(by_worker.values()) == answered == 60
        assert set(by_worker) == {"0", "1"}
        victim = _children(router.process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        await until_equal(workers_up, 1)
        await until_equal(workers_up, 2)
        await ask(20)
    assert await asyncio.to_thread(router.stop) == 0
    assert rows(ledger) >= 20


async def _post(session, url):
    async with session.post(url + "/v1/classify", json={"text": "help"}) as response:
        await response.read()
        return response.status


def _children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run(folder, *arguments, task="task.yaml"):
    """Run `raisehand serve` to its end and return exit code and stderr."""
    command = [sys.executable, "-c", "from router.cli import run; run()", "serve"]
    done = subprocess.run(
        [*command, "--task", str(folder / task), "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stderr


def changed(folder, name, **teacher):
    """Write a variant of the task file."""
    task = yaml.safe_load((folder / "task.yaml").read_text())
    task["teacher"] |= teacher
    (folder / name).write_text(yaml.safe_dump(task))
    return name


def test_faults_of_the_configuration_stop_the_start_with_one_sentence(folder, tmp_path):
    """Missing task or bundle, changed teacher, foreign address: exit 2 and no traceback."""
    shutil.copy(folder / "task.yaml", tmp_path)
    changed(folder, "other.yaml", revision="2")
    faults = {
        "does not exist": run(folder, task="missing.yaml"),
        "raisehand distill": run(tmp_path),
        "bundles begin with": run(folder, "--bundle", "nope"),
        "certified against another teacher": run(folder, task="other.yaml"),
        "cannot listen.*an address of this machine": run(
            folder, "--host", "192.0.2.1", "--allow-anonymous"
        ),
        "'unix:/tmp/x' is no address.*--uds": run(folder, "--host", "unix:/tmp/x"),
        "'' is no address.*0.0.0.0": run(folder, "--host", "", "--allow-anonymous"),
        "'\\*' is no address.*0.0.0.0": run(folder, "--host", "*", "--allow-anonymous"),
        "can be reached from outside": run(folder, "--host", "0.0.0.0"),
        "give one for each": run(folder, "--bundle", "a", "--bundle", "b"),
        "too few for 9 workers": run(folder, "--workers", "9"),
        "without its teacher|refused|reach": run(folder, "--strict-teacher", "--port", "0"),
    }
    for words, (code, stderr) in faults.items():
        assert code == 2, (words, stderr)
        assert re.search(words, stderr), stderr
        assert "Traceback" not in stderr


def test_operators_and_probes_are_told_apart_from_clients(serve, tmp_path):
    """With keys and from anywhere: operators by this machine alone, and a probe is told nothing."""
    save_keys(tmp_path / "keys.yaml", [KeySpec(name="team-a", sha256=sha256_of("secret"))])
    router = serve(
        "--host", "0.0.0.0", "--keys", str(tmp_path / "keys.yaml"), "--admin-port", "0",
        "--ledger", str(tmp_path / "l.sqlite"), admin_token="a-long-enough-admin-token",
    )  # fmt: skip
    assert router.url.startswith("http://0.0.0.0:")
    assert router.admin.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(router.url.replace("0.0.0.0", "127.0.0.1") + "/readyz") as ready:
        assert json.load(ready) == {"status": "ready"}
    assert router.stop() == 0


def test_a_token_without_a_port_is_said_to_have_no_effect(folder, monkeypatch):
    """What an operator has set and nobody reads is named; the token itself never is."""
    monkeypatch.setenv("RAISEHAND_ADMIN_TOKEN", "a-long-enough-admin-token")
    code, stderr = run(folder, "--strict-teacher")
    assert code == 2  # nobody is at the teacher's address
    assert "RAISEHAND_ADMIN_TOKEN has no effect without --admin-port" in stderr
    assert "a-long-enough" not in stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_wrong_database_address_stops_the_start_and_is_not_shown(folder, monkeypatch, workers):
    """What can never be a database is said before anything runs; its password never."""
    monkeypatch.setenv("RAISEHAND_DATABASE_URL", "mysql://u:secret@h/x")
    code, stderr = run(folder, "--workers", workers)
    assert code == 2
    assert "postgresql://user:password@host:5432/name" in stderr
    assert "secret" not in stderr
    assert "Traceback" not in stderr


def test_an_altered_bundle_is_not_served(folder, tmp_path):
    """One byte changed in the weights: refused at the start."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    [weights] = copy.glob(".raisehand/bundles/*/weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, stderr = run(copy, "--port", "0")
    assert code == 2
    assert "altered" in stderr
    assert "Traceback" not in stderr
