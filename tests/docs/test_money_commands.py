"""Each what-if command of the pages is one that the program takes, on files that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from costmodel.commands.capacity import capacity
from costmodel.commands.prices import prices
from costmodel.commands.whatif import month, whatif
from costmodel.inputs.changes import parse_axes, parse_changes
from costmodel.inputs.scenario import load, vary

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    "whatif": month,
    **{f"whatif {name}": command for name, command in whatif.commands.items()},
    "capacity": capacity,
    "prices": prices,
}
OWN = {"task.yaml", ".raisehand/ledger.sqlite"}
"""Files that whoever reads the page has, by the names that the program writes."""


def _commands() -> list[tuple[str, str]]:
    names = "|".join(sorted(COMMANDS, key=len, reverse=True))
    line = re.compile(rf"^(?: {{4}})?raisehand ({names}) (.*?)(?:\s{{2,}}#.*)?$")
    found = []
    for page in PAGES:
        for text in page.read_text(encoding="utf-8").splitlines():
            match = line.match(text)
            if match:
                found.append((match[1], match[2]))
    return found


@pytest.mark.parametrize(("name", "words"), _commands())
def test_a_documented_command_is_one(name, words):
    """Options parse, shipped files are there and take the changes, own files have their name."""
    with click.Context(COMMANDS[name]) as context:
        parser = COMMANDS[name].make_parser(context)
        options, arguments, _ = parser.parse_args(shlex.split(words))
    for file in [*arguments, options.get("task_path"), options.get("ledger_path")]:
        if file is None or file in OWN:
            continue
        if name != "prices":
            base = load(
                ROOT / file, parse_changes(options.get("changes", options.get("settings", ())))
            )
            for field, values in parse_axes(options.get("sweeps", ())).items():
                for value in values:
                    vary(base, {field: value})


def test_the_pages_name_the_ledger_as_the_router_writes_it():
    """`ledger.db` is no file of ours."""
    for page in PAGES:
        assert "ledger.db" not in page.read_text(encoding="utf-8"), page.name


def test_there_are_commands_to_check():
    """The pattern finds what the pages have."""
    assert len(_commands()) >= 6
