"""Runs the scripts of the SDKs, each in their own environment, against a router."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent
ENVIRONMENT = SCRIPTS.parents[3] / ".venv-sdks"
PYTHON = ENVIRONMENT / "bin" / "python"
COMMANDS = {
    "langchain": [PYTHON, SCRIPTS / "ask_langchain.py"],
    "pydantic-ai": [PYTHON, SCRIPTS / "ask_pydantic_ai.py"],
    "instructor": [PYTHON, SCRIPTS / "ask_instructor.py"],
    "ai": ["node", "--no-warnings", "--no-deprecation", "--input-type=module", "-"],
}
CASES = {"langchain": 56, "pydantic-ai": 72, "instructor": 25, "ai": 33}
"""How many a script has: one that ends early has not passed."""


async def ask_with(name, url, key):
    """Run the script of an SDK with a base URL and a key; return what it printed, case by case."""
    if not (ENVIRONMENT / "ready").exists():
        pytest.skip("run `make sdks` first")  # `make test` does
    if name == "ai" and not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no npm is installed")  # CI takes no such excuse: .ci/run
    source = (SCRIPTS / "ask_ai.mjs").read_bytes() if name == "ai" else None
    process = await asyncio.create_subprocess_exec(
        *map(str, COMMANDS[name]),
        url,
        key,
        cwd=ENVIRONMENT,  # where node looks for the packages of what it reads
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*", "AI_SDK_LOG_WARNINGS": "false"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(source), 300)
    assert process.returncode == 0, err.decode()
    answers = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    assert len(answers) == CASES[name], err.decode()
    return answers
