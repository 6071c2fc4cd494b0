"""What the options of all commands have in common."""

import click
import pytest

from costmodel.commands.options import Number
from router.cli import main


def _options(group, name=""):
    context = click.Context(group)
    for word in group.list_commands(context):
        command, path = group.get_command(context, word), f"{name} {word}".strip()
        if isinstance(command, click.Group):
            yield from _options(command, path)
        elif not path.startswith(("bench", "loadtest")):  # they have arithmetic of their own
            yield from ((path, option) for option in command.params)


def test_no_range_of_numbers_lets_nan_through():
    """A limit of nan is none: `capacity --availability nan` simulated, and found no machines."""
    ranges = [(name, one.opts[0], one.type) for name, one in _options(main)
              if isinstance(one.type, click.FloatRange)]  # fmt: skip
    assert ("label", "--max-usd") in [row[:2] for row in ranges]
    assert [row for row in ranges if not isinstance(row[2], Number)] == []


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "NaN"])
def test_a_number_is_finite(word):
    """One sentence, before anything is simulated or paid."""
    with pytest.raises(click.BadParameter, match=r"finite|range"):
        Number(0).convert(word, None, None)
