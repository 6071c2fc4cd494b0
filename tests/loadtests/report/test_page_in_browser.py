"""The page of a load test as a browser shows it, of the runs that the documentation publishes."""

from pathlib import Path

import pytest

from loadtests.report.page import page_of
from loadtests.verdict.conclusion import Conclusion

REPORTS = sorted((Path(__file__).parents[3] / "docs" / "reports").glob("*.json"))
PICTURED = "teacher-outage"
SCROLLED = "[...document.querySelectorAll('.table')].filter(t => t.scrollWidth > t.clientWidth + 1)"
SMALLEST = (
    "Math.min(...[...document.querySelectorAll('figure svg text')]"
    ".map(t => t.getBoundingClientRect().height).filter(h => h))"
)
VIEWS = (("desktop", False), ("phone", True), ("desktop", True), ("phone", False))


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_axe_finds_no_fault_on_any_screen(path, chromium, tmp_path, screenshots):
    """Wide and narrow, light and dark: nothing is cut, and axe-core has nothing to say."""
    page = tmp_path / "report.html"
    page.write_text(page_of(Conclusion.model_validate_json(path.read_bytes())).html(), "utf-8")
    for size, dark in VIEWS if path.stem == PICTURED else VIEWS[:2]:
        tab = chromium.tab(size, dark)
        tab.open(page.as_uri(), until="document.querySelector('figure svg')")
        assert tab.faults() == []
        assert tab.wider_than_its_screen() == []
        assert tab.run(f"{SCROLLED}.map(t => t.innerText.slice(0, 60))") == []
        assert tab.run(SMALLEST) > 8
        assert "`" not in tab.run("document.body.innerText")
        assert tab.troubles == []
        if path.stem == PICTURED and (size == "phone") == dark:
            tab.screenshot(screenshots / "loadtests" / f"{size}.png")


def test_an_outage_is_shaded_in_every_figure_over_time(tmp_path):
    """Four figures, each wide and narrow, name the shade; a run without one has no shade."""
    html = {
        path.stem: page_of(Conclusion.model_validate_json(path.read_bytes())).html()
        for path in REPORTS
    }
    assert html[PICTURED].count("the teacher fails") == 2 * 4
    assert "the teacher fails" not in html["peak"]
