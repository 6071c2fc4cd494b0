"""What the README says is what happens: its walk-through runs, block by block."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def blocks(language):
    """Return the fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    """Return every `raisehand ...` line of the README's shell blocks, continued lines joined."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip().rstrip("&").strip() for line in lines
            if line.strip().startswith("raisehand ")]  # fmt: skip


@pytest.mark.parametrize("line", commands())
def test_command_line_is_understood(line):
    """Every option of every command line in the README exists."""
    arguments = shlex.split(line)[1:]
    names = [a for a in arguments if a.startswith("--")]
    path = [arguments[0]]
    if arguments[0] == "bench":
        path.append(arguments[1])
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0, result.output
    for name in names:
        assert name.split("=")[0] in result.output


def test_make_targets_exist():
    """Every `make X` that the README shows is a target."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z][a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_links_lead_somewhere():
    """Every relative link of the README leads to a file."""
    root = Path(__file__).parents[2]
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (root / link).exists(), link


def test_installed_command_answers():
    """The installed console script answers `--version`."""
    done = subprocess.run([BIN / "raisehand", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "raisehand" in done.stdout
