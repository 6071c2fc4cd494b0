"""A folder and a module stay small enough to be seen at once."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "students", "costmodel", "loadtests")
MODULES, LINES = 14, 350


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_has_too_many_modules(package):
    """What a folder is about is on one screen; `__init__.py` is its title."""
    folders = [path.parent for path in (ROOT / package).rglob("__init__.py")]
    counts = {
        str(folder.relative_to(ROOT)): len(set(folder.glob("*.py")) - {folder / "__init__.py"})
        for folder in folders
    }
    assert {name: n for name, n in counts.items() if n > MODULES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_too_long(package):
    """One noun a module."""
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name: n for name, n in lines.items() if n > LINES} == {}
