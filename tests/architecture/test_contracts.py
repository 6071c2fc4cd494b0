"""Who may import whom is checked by import-linter from pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_contracts_are_kept():
    """Every import contract of pyproject.toml is kept."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_every_package_is_typed():
    """Every package ships py.typed, so that users' type checkers read it."""
    packages = ["router", "costmodel", "students", "loadtests"]
    assert [p for p in packages if not (ROOT / p / "py.typed").exists()] == []
