"""An import inside a function is a door to something heavy, and nothing else."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "students", "costmodel", "loadtests")
SLOW = {"asyncio", "http", "multiprocessing"}
"""Parts of the standard library that take tens of milliseconds."""


def test_the_standard_library_is_imported_at_the_head():
    """Of a file, where a reader looks for it; benches aside."""
    found = []
    for path in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        if "bench" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        inner = [n for f in ast.walk(tree) if isinstance(f, functions) for n in ast.walk(f)]
        for node in inner:
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [name.name for name in node.names]
            for module in (name.partition(".")[0] for name in modules):
                if module in sys.stdlib_module_names and module not in SLOW:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {module}")
    assert found == []
