"""Drift, alarm, webhook, the next student, promotion: two workers, and no failed request.

The texts are made up: after the drift each carries words that mislead the student, and new ones
that tell the topic. On Banking77 it is `examples/banking77/loop.py` itself.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "banking77" / "loop.py"
INTENTS = ("card_a", "card_b", "transfer_a", "transfer_b", "top_up_a", "top_up_b", "fee_a", "fee_b")


@pytest.fixture
def data(tmp_path):
    """Texts by intent, in two files as they are published."""
    spec = importlib.util.spec_from_file_location("banking77_loop", SCRIPT)
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    seen, _ = loop._halves([("", loop.topic_of(intent), intent) for intent in INTENTS])
    known = {intent for _, _, intent in seen}
    rng = random.Random(4)
    words = {
        kind: {topic: [_word(rng) for _ in range(25)] for topic in (*loop.TOPICS, "other")}
        for kind in ("old", "new")
    }
    topics = list(words["old"])
    rows = []
    for intent in INTENTS:
        topic = loop.topic_of(intent)
        for _ in range(700):
            if intent in known:
                text = rng.choices(words["old"][topic], k=6)
            else:
                wrong = topics[(topics.index(topic) + 1) % len(topics)]
                text = rng.choices(words["old"][wrong], k=4) + rng.choices(words["new"][topic], k=6)
            rows.append((" ".join(text), intent))
    rng.shuffle(rows)
    for name, part in (("train.csv", rows[1000:]), ("test.csv", rows[:1000])):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([("text", "category"), *part])
    return tmp_path


def _word(rng):
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(3))


@pytest.mark.e2e
def test_the_loop_is_closed(data):
    """Alarm and webhook; the new student is certified, promoted, and asks less; all are 200."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--data", data, "--cache", data / "work", "--requests", "2500",
         "--agreement", "0.9", "--audit-rate", "0.4", "--margin", "0.05"],
        capture_output=True, text=True, cwd=data,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout[done.stdout.index("\n{\n") :])
    assert figures["webhook"]["reason"] == "promise_broken"
    assert figures["webhook"]["figures"]["disagreements"] > 0
    assert figures["shares"] == [0.01, 0.1, 0.5, 1.0]
    assert figures["escalated_after_promotion"] < figures["escalated_under_alarm"] / 2
    assert set(figures["statuses"]) == {"200"}
