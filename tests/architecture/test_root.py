"""The first folder that a newcomer sees holds what every project has, and the rooms of this one."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"costmodel", "deploy", "docs", "examples", "loadtests", "router", "students", "tests"}
FILES = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
    "constraints.txt", "mkdocs.yml", "pyproject.toml",
}  # fmt: skip


def test_nothing_lies_about_in_the_root():
    """What a command wrote while somebody tried it was committed once."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seen = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in seen if not name.startswith(".")} == FOLDERS | FILES
