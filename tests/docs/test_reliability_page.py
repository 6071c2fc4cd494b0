"""docs/reliability.md names a test or a measurement for every way to break, and each exists."""

import ast
import re
from pathlib import Path

import pytest

from router.cli import BENCHES

ROOT = Path(__file__).parents[2]
ROWS = dict(
    re.findall(
        r"^\| (T\d+) \| (.+) \|$",
        (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
)


def test_all_32_are_there():
    """T1 to T32, in order."""
    assert list(ROWS) == [f"T{i}" for i in range(1, 33)]


@pytest.mark.parametrize("row", ROWS)
def test_what_a_row_names_exists(row):
    """At least one automated test, or a measurement, and none that is not there."""
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", ROWS[row])
    benches = re.findall(r"`raisehand bench (\w+)`", ROWS[row])
    assert named or benches
    assert set(benches) <= set(BENCHES)
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, functions)}, path
