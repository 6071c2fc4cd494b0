"""docs/certificate.md names tests and settings that exist."""

import re
from pathlib import Path

import pytest

from students.bench.placement import CURVES, SIZES
from students.bench.whole_way import piles
from students.sections import PromiseSection

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "certificate.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_named_test_exists(path, name):
    """A trap is guarded by the test that the page names."""
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def test_every_trap_has_a_guard():
    """Each row of the table of traps names a test, or says why it cannot happen."""
    rows = PAGE.split("| trap |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 20
    for row in rows:
        guard = row.split("|")[2]
        assert "::test_" in guard or re.search("cannot happen|no dependency", guard), row


def test_every_assumption_has_a_test():
    """Each row of the table of assumptions says what makes it true, and names a test of that."""
    rows = PAGE.split("| | assumption |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 8
    for row in rows:
        *_, done, guard, _ = row.split("|")
        assert done.strip(), row
        assert "::test_" in guard, row


def test_the_table_of_the_whole_way_has_every_pile():
    """The measured piles are those of the bench."""
    assert all(f"| {pile.name} |" in PAGE for pile in piles())


def test_the_table_has_every_curve_and_size():
    """The measured table is that of the bench."""
    table = PAGE.split("| true agreement |")[1].split("\n\n")[0]
    assert all(f"| {curve} |" in table for curve in CURVES)
    assert all(table.count(f"| {n:,} |") == len(CURVES) for n in SIZES)


def test_the_promise_in_the_page_is_understood():
    """The YAML of the page is a promise."""
    import yaml

    block = re.search(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    promise = PromiseSection.model_validate(yaml.safe_load(block.group(1))["promise"])
    assert promise.per_class["urgent"].agreement == 0.98
