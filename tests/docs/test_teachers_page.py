"""docs/teachers.md names tests, modes and settings that exist."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from students.sections import TeacherSection
from students.task import Task

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
TESTS = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_every_named_test_exists(name):
    """A trap is guarded by the test that the page names."""
    assert f"def {name}(" in TESTS


def test_every_mode_is_in_the_table():
    """The table of modes is that of the task file."""
    modes = get_args(TeacherSection.model_fields["mode"].annotation)
    assert all(f"| `{mode}` |" in PAGE for mode in modes)


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_every_teacher_section_is_understood(block):
    """Each YAML block is a teacher section of a task."""
    task = {"name": "t", "labels": ["calm", "urgent"], "inputs": {"path": "x.csv"}}
    assert Task.model_validate({**task, **yaml.safe_load(block)}).prompt.user.count("{text}") == 1
