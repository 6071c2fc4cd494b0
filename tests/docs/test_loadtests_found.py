"""docs/loadtests-found.md names a test for every fault that was found, and each exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "loadtests-found.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]


def test_the_table_is_read():
    """Every row of it; none is empty."""
    assert len(ROWS) > 50
    assert all(re.fullmatch(r"\| .+ \| .+ \|", row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:50])
def test_what_a_row_names_exists(row):
    """At least one test, and none that is not there."""
    named = re.findall(r"`(\S+\.py)::(\w+)`", row)
    assert named
    for name, function in named:
        path = ROOT / name if name.startswith("tests/") else ROOT / "tests" / "loadtests" / name
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, path
