"""Every command of the command line exists, explains itself and is in the README."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from router.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "bench"])
def test_command_has_help_with_an_example(name):
    """`raisehand NAME --help` explains the command and shows an example."""
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"raisehand {name}" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_in_the_readme(name):
    """Every command is shown in the README."""
    assert f"raisehand {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_unknown_command_is_one_sentence():
    """A command that does not exist is a usage error, not a traceback."""
    result = CliRunner().invoke(main, ["nonsense"])
    assert result.exit_code == 2
    assert "No such command 'nonsense'" in result.output
