"""docs/certificate.md names tests and settings that exist."""

import json
import re
from pathlib import Path

import pytest

from students.bench.certificate_page import page_of
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


def test_the_measured_page_is_drawn_from_its_figures():
    """Nobody typed one, every pile and curve is there, and no promise of the product was broken."""
    folder = ROOT / "docs" / "benchmarks"
    report = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    page = (folder / "certificate.md").read_text(encoding="utf-8")
    assert page == page_of(report)
    assert report["broken"] == []
    assert {cell["pile"] for cell in report["piles"]} == {pile.name for pile in piles()}
    assert all(page.count(f"| {curve} |") == len(SIZES) for curve in CURVES)


def test_the_promise_in_the_page_is_understood():
    """The YAML of the page is a promise."""
    import yaml

    block = re.search(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    promise = PromiseSection.model_validate(yaml.safe_load(block.group(1))["promise"])
    assert promise.per_class["urgent"].agreement == 0.98
