"""A rule of numbers has one name: what is written twice drifts apart."""

import ast
from pathlib import Path

from costmodel import fields
from costmodel.units import DAY_S

ROOT = Path(__file__).parents[2]
PACKAGES = ("costmodel", "students", "router", "loadtests")


def _trees():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def _ranges(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
            yield ast.unparse(node)


def test_a_range_that_has_a_name_is_written_nowhere_else():
    """Three `Positive` and two `Share` were there, some with infinity and some without."""
    named = set(_ranges(ast.parse(Path(fields.__file__).read_text("utf-8"))))
    assert len(named) == 4
    twice = [
        (path, each)
        for path, tree in _trees()
        if path != "costmodel/fields.py"
        for each in _ranges(tree)
        if each in named
    ]
    assert twice == []


def test_no_two_modules_name_a_range_alike():
    """A name that two modules bind to a range of their own means two things."""
    at = {}
    for path, tree in _trees():
        for node in tree.body:
            if isinstance(node, ast.Assign) and any(_ranges(node.value)):
                at.setdefault(ast.unparse(node.targets[0]).lstrip("_"), []).append(path)
    assert {name: paths for name, paths in at.items() if len(paths) > 1} == {}


def test_a_day_is_as_long_everywhere():
    """Eleven modules had its seconds as a number of their own."""
    own = [
        path
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in (DAY_S, DAY_S * 1_000_000)
    ]
    assert own == ["costmodel/units.py"]
