"""Structured classification by the SDKs that write it, in an environment of their own."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from router.ledger.read import read_entries

pytestmark = [pytest.mark.e2e, pytest.mark.sdks]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = ROOT / ".venv-sdks"
SCRIPTS = Path(__file__).parent / "sdks"
PYTHON = ENVIRONMENT / "bin" / "python"
COMMANDS = {
    "langchain": [PYTHON, SCRIPTS / "ask_langchain.py"],
    "pydantic-ai": [PYTHON, SCRIPTS / "ask_pydantic_ai.py"],
    "instructor": [PYTHON, SCRIPTS / "ask_instructor.py"],
    "ai": ["node", "--no-warnings", "--no-deprecation", "--input-type=module", "-"],
}
CASES = {"langchain": 56, "pydantic-ai": 72, "instructor": 25, "ai": 33}
"""How many a script has: one that ends early has not passed."""
TOKEN = "a-long-enough-admin-token"


async def run(name, url):
    """Run a script; return the lines that it printed."""
    if name == "ai" and not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no npm is installed")  # CI takes no such excuse: .ci/run
    if not (ENVIRONMENT / "ready").exists():
        pytest.skip("run `make sdks` first")
    source = (SCRIPTS / "ask_ai.mjs").read_bytes() if name == "ai" else None
    process = await asyncio.create_subprocess_exec(
        *map(str, COMMANDS[name]),
        url,
        cwd=ENVIRONMENT,  # where node looks for the packages of what it reads
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*", "AI_SDK_LOG_WARNINGS": "false"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(source), 300)
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]


@pytest.mark.parametrize("route", ["student", "teacher"])
@pytest.mark.parametrize("name", COMMANDS)
async def test_the_sdk_reads_the_label_in_the_shape_that_it_asked_for(
    upstream, folder_of, serve, tmp_path, name, route
):
    """Sure: the student answers and the teacher hears nothing; unsure: one call, the same shape."""
    asked = []

    async def teacher(request):
        asked.append(await request.json())
        top = [{"token": "YES", "logprob": -0.01}, {"token": "NO", "logprob": -5}]
        logprobs = {"content": [{"token": "YES", "logprob": -0.01, "top_logprobs": top}]}
        message = {"role": "assistant", "content": "YES"}
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 1}
        return web.json_response({"choices": [choice], "usage": usage})

    at = folder_of({"base_url": await upstream(teacher), "timeout_s": 30})
    ledger = tmp_path / "l.sqlite"
    router = await asyncio.to_thread(
        serve, "--ledger", str(ledger), "--admin-port", "0", at=at, admin_token=TOKEN
    )
    if route == "teacher":
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            where = router.admin + "/tasks/urgent/threshold"
            async with session.put(where, json={"threshold": 1}) as response:
                assert response.status == 200, await response.text()
    asked.clear()  # it is tried once at the start
    answers = await run(name, router.url + "/v1")
    assert await asyncio.to_thread(router.stop) == 0
    assert [a for a in answers if a["label"] != "urgent"] == []
    assert len(answers) == CASES[name]
    assert [entry.route for entry in read_entries(ledger)] == [route] * len(answers)
    assert len(asked) == (len(answers) if route == "teacher" else 0)
