"""Every command of the command line exists, explains itself and is in the README."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from router.cli import COMMANDS, main, run

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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt("Answers are kept."), "Answers are kept."),
        (KeyboardInterrupt(), "Interrupted."),
    ],
)
def test_an_interrupted_command_says_what_it_keeps(monkeypatch, capsys, error, said):
    """What becomes of the work is the command's to say: no sentence is true of all of them."""

    @click.command("interrupted")
    def interrupted():
        raise error

    monkeypatch.setattr(main, "get_command", lambda *_: interrupted)
    monkeypatch.setattr("sys.argv", ["raisehand", "interrupted"])
    with pytest.raises(SystemExit, match="130"):
        run()
    assert capsys.readouterr().err.strip() == said
