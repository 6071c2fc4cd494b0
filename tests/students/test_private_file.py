"""A file for SQLite is made once, for its owner, and never opened past SQLite afterwards."""

import ast
from pathlib import Path

from students.private_file import make_private

ROOT = Path(__file__).parents[2]


def test_it_is_the_owners_and_made_once(tmp_path):
    """With its folder; what is there keeps its content and its mode."""
    path = tmp_path / "a" / "b.sqlite"
    make_private(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"there")
    path.chmod(0o640)
    make_private(path)
    assert path.read_bytes() == b"there"
    assert path.stat().st_mode & 0o777 == 0o640


def test_no_module_that_speaks_sqlite_opens_files_by_itself():
    """A descriptor of the same file, closed, takes SQLite's locks along."""
    for package in ("router", "students"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text("utf-8")
            if "sqlite3.connect(" in text:
                called = {
                    node.func.attr
                    for node in ast.walk(ast.parse(text))
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
                }  # fmt: skip
                assert "open" not in called, path
