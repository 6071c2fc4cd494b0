"""The generator stands on what its libraries promise."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "loadtests"
OWN = ("self", "other", "cls", "histogram")
FILES = sorted([*ROOT.glob("generator/*.py"), *ROOT.glob("users/*.py"), *ROOT.glob("workers/*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_private_name_of_another_is_used(path):
    """Gevent's and Locust's names that begin with an underscore change without notice."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            own = isinstance(node.value, ast.Name) and node.value.id in OWN
            assert own or node.attr.startswith("__"), f"line {node.lineno}: {node.attr}"
