"""docs/found.md names a test for every fault that was found, and each exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "found.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([\d.]+) \| (.+) \| (.+) \|$", PAGE, flags=re.MULTILINE)
CASES = {"1": 2, "2": 8, "3": 5, "4": 6, "5": 6, "6": 6, "7": 5}
"""How many the report has in each of its parts that counts them."""


def test_every_numbered_case_is_there():
    """In the order of the report, and its parts without numbers have rows, too."""
    numbers = [number for number, *_ in ROWS]
    counted = [f"{part}.{i}" for part, n in CASES.items() for i in range(1, n + 1)]
    assert [number for number in numbers if "." in number] == counted
    assert {number for number in numbers if "." not in number} == {"8", "9", "10", "11"}


@pytest.mark.parametrize(("number", "what", "held_by"), ROWS)
def test_what_a_row_names_exists(number, what, held_by):
    """At least one test, and none that is not there."""
    named = re.findall(r"`(\S+\.py)::(test_\w+)`", held_by)
    assert named
    assert len(named) == len(held_by.split(", "))
    for path, name in named:
        tree = ast.parse((ROOT / "tests" / "router" / path).read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, functions)}, path
