"""CONTRIBUTING.md names things that are where it says."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([a-z_.]+):(\w+)`", PAGE.split("### One of each")[1].split("\n## ")[0])


def test_the_table_names_something():
    """The section is still there, in the form that is read here."""
    assert len(NAMED) > 12


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_every_one_of_each_is_where_it_says(module, name):
    """Who looks for it finds it, under this name."""
    assert hasattr(importlib.import_module(module), name)
