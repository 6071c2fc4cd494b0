"""What docs/operations.md says of a field of a chat completion is what the router does with it."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import pytest

from router.api.chat_fields import DEFAULTS, UNREAD
from router.api.chat_question import ChatQuestion, ChatQuestions, NoQuestion
from router.schemas import ChatRequest
from router.service.served import Served
from students.task import Task

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## The drop-in, field by field")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("| ")
][1:]
ALLOWED = next(row[0] for row in ROWS if row[1].startswith("allowed"))
OWN_ROWS = {"stream", "stream_options", "stop", "response_format", "tools", "n", "logprobs"}
"""Fields of which it depends on the value."""
SAMPLES = {
    "metadata": {"a": "b"}, "store": True, "seed": 3, "user": "u", "service_tier": "auto",
    "reasoning_effort": "low", "verbosity": "low", "safety_identifier": "s",
    "prompt_cache_key": "k", "reasoning": {"effort": "low"},
}  # fmt: skip
"""Values that say something; 1 for the rest."""
ASKED = {
    "model": "big",
    "messages": [
        {"role": "system", "content": "Say it."},
        {"role": "user", "content": "Message: help\nUrgent?"},
    ],
}


def _named(cell: str) -> list[str]:
    return [name.split(":")[0] for name in re.findall(r"`([\w*]+(?:: \w+)?)`", cell)]


def _found(**fields: object) -> ChatQuestion | NoQuestion:
    task = Task.model_validate(
        {
            "name": "urgent",
            "labels": ["calm", "urgent"],
            "teacher": {
                "mode": "chat", "base_url": "http://127.0.0.1:9/v1", "model": "big",
                "prompt": {"system": "Say it.", "user": "Message: {text}\nUrgent?"},
                "answers": {"urgent": "YES", "calm": "NO"},
                "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 2},
            },
            "inputs": {"path": "inputs.csv"},
        }
    )  # fmt: skip
    questions = ChatQuestions([Served(task, None)], lambda text: None)  # type: ignore[arg-type]
    return questions.read(json.dumps(ASKED | fields).encode())


def test_every_field_that_is_read_or_left_unread_has_its_row():
    """The table is whole: what the code allows is what the page says it allows."""
    read = {field.name for field in msgspec.structs.fields(ChatRequest)}
    assert set(_named(ALLOWED)) == (read | UNREAD) - {*ASKED, *OWN_ROWS, "tool_choice"}
    others = {name for row in ROWS if row[0] != ALLOWED for name in _named(row[0])}
    assert others >= OWN_ROWS | {"tool_choice"}


@pytest.mark.parametrize("name", _named(ALLOWED))
def test_an_allowed_field_is_the_students(name):
    """Whatever it says, the label is the same."""
    assert isinstance(_found(**{name: SAMPLES.get(name, 1)}), ChatQuestion)


@pytest.mark.parametrize("name", DEFAULTS)
def test_any_other_known_field_counts_as_absent_or_is_the_teachers(name):
    """At null, empty or its default the student answers; else the field is named as the cause."""
    for value in (None, [], {}, *DEFAULTS[name]):
        assert isinstance(_found(**{name: value}), ChatQuestion), value
    another = {"n": 2, "logprobs": True}.get(name, ["something"])
    assert _found(**{name: another}) == NoQuestion("field", name)


def test_what_the_table_gives_to_the_teacher_is_known():
    """Each name of that row, and each of its patterns, is a field that the code knows."""
    row = next(row for row in ROWS if "what else changes the answer" in row[0])
    assert row[2] == "passed on"
    for pattern in _named(row[0]):
        assert any(fnmatchcase(name, pattern) for name in DEFAULTS), pattern


def test_the_way_to_savings_names_every_cause():
    """Whoever looks a word of `x-raisehand-why` up finds what to do."""
    runbook = SECTION.split("### No savings?")[1]
    causes = ("unreadable", "model", "messages", "field", "text")
    for why in causes:
        assert NoQuestion(why).sentence
        assert re.search(rf"^\d\. `{why}\b", runbook, flags=re.MULTILINE), why
    steps = re.findall(r"^(\d)\. ", runbook, flags=re.MULTILINE)
    assert steps == [str(i + 1) for i in range(len(steps))]
    for command in ("raisehand ledger", "raisehand evaluate", "raisehand_unmatched_total"):
        assert f"`{command}`" in runbook
