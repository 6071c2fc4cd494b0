"""An import inside a function is a door to a library that is loaded only by who needs it."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "students", "costmodel", "loadtests")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)


def _name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TREES = {
    _name(path): ast.parse(path.read_text("utf-8"))
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}


def _imported(statement) -> Iterator[str]:
    """Modules that a statement loads, with the packages around those of ours."""
    names = [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        inside = [f"{statement.module}.{name}" for name in names]
        names = [statement.module, *(name for name in inside if name in TREES)]
    for name in names:
        parts = name.split(".")
        ours = parts[0] in PACKAGES
        yield from (".".join(parts[:n]) for n in range(1 if ours else len(parts), len(parts) + 1))


def _at_once(body) -> Iterator[str]:
    """Modules that are loaded as soon as a module is; what only types need is not."""
    for statement in body:
        if isinstance(statement, IMPORTS):
            yield from _imported(statement)
        elif isinstance(statement, ast.Try) or (
            isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.dump(statement.test)
        ):
            yield from _at_once(statement.body)


@cache
def _libraries(*modules):
    """Libraries that are not ours nor Python's and that are loaded with some modules."""
    seen, waiting = set(), list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _at_once(TREES[name].body) if name in TREES else ()
    return {name.split(".")[0] for name in seen} - set(PACKAGES) - sys.stdlib_module_names


def _within_functions(tree):
    for function in ast.walk(tree):
        if isinstance(function, FUNCTIONS):
            yield from (node for node in ast.walk(function) if isinstance(node, IMPORTS))


def test_an_import_within_a_function_loads_a_library():
    """One that brings nothing new but our own lines stands at the head of the module."""
    needless = {
        f"{name}:{statement.lineno} {ast.unparse(statement)}"
        for name, tree in TREES.items()
        for statement in _within_functions(tree)
        if not _libraries(*_imported(statement)) - _libraries(name)
    }
    assert needless == set()
