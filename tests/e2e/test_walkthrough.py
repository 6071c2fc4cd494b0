"""The README's walk-through on a reader's own task, run block by block.

The teacher is the shipped fake: real HTTP, OpenAI's chat contract with logprobs.
"""

import csv
import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.e2e

WORDS = {
    "billing": ["invoice", "refund", "charged", "payment", "receipt", "price"],
    "technical": ["crash", "error", "login", "slow", "broken", "update"],
    "other": ["hello", "thanks", "question", "office", "hours", "feedback"],
}


def block(language, containing):
    """Return the README's first fenced block of the language that contains the words."""
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(text for text in found if containing in text)


def shell(name):
    """Return the one command of the README that runs `raisehand NAME`, as arguments."""
    line = next(
        line
        for text in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
        for line in text.splitlines()
        if line.startswith(f"raisehand {name} ")
    )
    return [str(BIN / "raisehand"), *shlex.split(line.split(" #")[0])[1:]]


def messages(n=2600, seed=7):
    """Return distinct support messages in which one kind of word outnumbers the others."""
    rng = random.Random(seed)
    made = {}
    while len(made) < n:
        label = rng.choice(list(WORDS))
        strange = rng.choice(list(WORDS))
        words = rng.sample(WORDS[label], 3) + rng.sample(WORDS[strange], 1)
        rng.shuffle(words)
        made[f"case {rng.randrange(10**6)}: {' '.join(words)}"] = label
    return made


def wait_for(url, process, seconds=60):
    """Wait until the URL answers 200."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer in {seconds} s")


@pytest.fixture(scope="module")
def place(tmp_path_factory, free_port_of):
    """A reader's folder: task.yaml from the README, messages.csv, and a teacher that answers."""
    folder = tmp_path_factory.mktemp("walkthrough")
    rows = messages()
    with (folder / "messages.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "answer"])
        writer.writerows(rows.items())
    port = free_port_of()
    task = block("yaml", "name: tickets").replace(":8000/v1", f":{port}/v1")
    (folder / "task.yaml").write_text(task, encoding="utf-8")
    os.environ["TEACHER_API_KEY"] = "walkthrough"
    teacher = subprocess.Popen(
        [
            sys.executable, "-m", "loadtests.servers.fake_teacher", "--port", str(port),
            "--model", "my-llm", "--references", folder / "messages.csv", "--text", "text",
            "--answer", "answer", *(p for w in WORDS for p in ("--label", w)),
            "--set", "user=billing, technical or other? {text}",
        ],
        cwd=ROOT,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health", teacher)
        yield folder
    finally:
        teacher.terminate()
        teacher.wait(timeout=10)


def run(folder, arguments, expected=0):
    """Run one command of the walk-through in the reader's folder."""
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == expected, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def bundle(place):
    """The bundle that `label` and `distill` leave."""
    run(place, shell("label"))
    return run(place, shell("distill"))


def test_distill_prints_the_statement_it_proved(bundle):
    """`raisehand distill` ends with the certificate's exact statement."""
    assert "With probability at least 95%" in " ".join(bundle.split())


def test_labelling_again_asks_nothing(place, bundle):
    """A second `raisehand label` finds every answer in the cache."""
    record = json.loads(_stdout(place, [*shell("label"), "--json"]))
    assert record["asked"] == 0
    assert record["cached"] == record["n"]


def _stdout(folder, arguments):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_evaluate_says_agreement_and_keeps_accuracy_apart(place, bundle):
    """`raisehand evaluate` reports agreement, and no accuracy where there is no gold."""
    said = run(place, shell("evaluate"))
    assert "agreement" in said.lower()


def test_whatif_projects_the_month(place, bundle):
    """`raisehand whatif` prints every rail with its unit prices."""
    said = run(place, shell("whatif"))
    for rail in ("teacher only", "student only", "cascade"):
        assert rail in said.replace("_", " ")


@pytest.fixture(scope="module")
def router(place, bundle, free_port_of):
    """The router of the walk-through, on a free port."""
    port = free_port_of()
    arguments = [a if a != "8080" else str(port) for a in shell("serve")]
    process = subprocess.Popen(arguments, cwd=place)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", process)
        yield port
    finally:
        process.terminate()
        assert process.wait(timeout=30) in (0, -15)


def test_curl_example(place, router):
    """The README's curl command gets an answer that says who gave it."""
    command = block("sh", "curl -s").replace(":8080", f":{router}")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    answer = json.loads(done.stdout)
    assert answer["label"] in WORDS
    assert answer["raisehand"]["route"] in {"student", "teacher"}


def test_openai_example(place, router):
    """The README's openai-python example prints one of the teacher's words."""
    code = block("python", "from openai import OpenAI").replace(":8080", f":{router}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in WORDS


def test_openai_streams_the_same_words(place, router):
    """Streamed, the answer is the same word as not streamed, with usage at the end."""
    from openai import OpenAI

    client = OpenAI(base_url=f"http://127.0.0.1:{router}/v1", api_key="unused")
    ask = {
        "model": "my-llm",
        "messages": [
            {"role": "system", "content": "You sort support messages. Answer with one word."},
            {"role": "user", "content": "billing, technical or other? refund my payment invoice"},
        ],
    }
    whole = client.chat.completions.create(**ask)
    chunks = list(
        client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert streamed == whole.choices[0].message.content
    assert streamed in WORDS
    assert whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens > 0


def test_loadtest_and_ledger(place, router):
    """The load test passes, and the ledger books every request of it."""
    arguments = [a.replace(":8080", f":{router}") for a in shell("loadtest")]
    run(place, [*arguments, "--json", "load.json", "--max-generator-cpu", "1",
                "--max-send-lag-ms", "1000"])  # fmt: skip
    load = json.loads((place / "load.json").read_text(encoding="utf-8"))["report"]
    assert load["failed"] == 0
    time.sleep(1.5)  # the ledger writes in batches
    booked = json.loads(_stdout(place, [*shell("ledger"), "--json"]))
    assert booked["all"]["requests"] >= load["succeeded"]
