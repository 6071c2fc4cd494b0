"""The faults that the simulator's page lists: each is held by tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
IDS = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), IDS)
def test_each_fault_is_held_by_a_test(path, name):
    """The file has a function of that name, which pytest collects."""
    text = (ROOT / "tests" / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_no_row_of_the_table_is_without_one():
    """Every kind of the notes has a row, and every row at least one test."""
    rows = [
        line for line in PAGE.split("the tests that hold them")[1].splitlines()
        if line.startswith("| ") and not line.startswith("| fault")
    ]  # fmt: skip
    assert len(rows) >= 26
    assert all("::test_" in row for row in rows)
