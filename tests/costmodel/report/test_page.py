"""The report page: self-contained, safe, right-aligned numbers, deterministic."""

import re
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from costmodel.report.page import Headline, Page


def _figure() -> Figure:
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([1, 2, 3], [3, 1, 2], color="black", label="line")
    axes.legend()
    return figure


class _Loads(HTMLParser):
    """Collects every address that a browser would fetch, and every id."""

    def __init__(self):
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in {"src", "href", "xlink:href"} and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")


def _read(html: str) -> _Loads:
    parser = _Loads()
    parser.feed(html)
    return parser


def test_page_loads_nothing_from_elsewhere():
    """No script, no stylesheet, no image: the file can be mailed."""
    html = Page("Title", "Sub").figure(_figure(), "Caption", "a line").html()
    assert _read(html).fetched == []
    assert "<script" not in html
    assert "url(http" not in html


def test_text_is_escaped_everywhere():
    """A label called <script> stays text in every place it can appear."""
    bad = "<script>alert(1)</script>"
    page = Page(bad, bad).heading(bad).paragraph(bad).table([bad], [[bad]], bad)
    page.headlines([Headline(bad, bad, bad)]).figure(_figure(), bad, f'" onload="x {bad}')
    html = page.html()
    assert "<script" not in html
    assert '" onload="' not in html


def test_figure_says_in_words_what_it_shows():
    """The alt text is the accessible name of the inline SVG."""
    html = Page("T").figure(_figure(), "C", 'falls & "rises"').html()
    assert 'role="img" aria-label="falls &amp; &quot;rises&quot;"' in html


def test_black_and_white_follow_the_readers_theme():
    """Ink and paper become the page's colours, so that a figure is readable in dark mode."""
    html = Page("T").figure(_figure(), "C", "a").html()
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "#ffffff" not in svg


def test_two_different_figures_share_no_id():
    """Clip paths of one figure must not cut another one."""
    other = Figure(figsize=(5, 3))
    other.subplots().bar([1, 2], [2, 1])
    ids = _read(Page("T").figure(_figure(), "a", "a").figure(other, "b", "b").html()).ids
    assert sorted(set(ids)) == sorted(ids)


@pytest.mark.parametrize(
    ("cell", "right"),
    [
        (1_234, True),
        (Decimal("-0.50"), True),
        ("$1,234", True),
        ("−$1,234.50", True),
        ("97.1 %", True),
        ("12 ms", True),
        ("±3.1", True),
        ("teacher", False),
        ("2026-11-24", False),
        ("gpt-4o", False),
    ],
)
def test_numbers_are_right_aligned(cell, right):
    """A column of numbers, amounts or shares is right-aligned; words and dates are not."""
    html = Page("T").table(["h"], [[cell], [None]]).html()
    assert right == ('<th scope="row" class="right">' in html)


def test_numbers_get_thousands_separators_and_missing_a_dash():
    """Cells are written for people."""
    html = Page("T").table(["a", "b", "c"], [[1_234_567, None, Decimal("1234.50")]]).html()
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", html)
    assert cells[3:] == ["1,234,567", "–", "1,234.50"]


def test_a_row_of_the_wrong_length_is_refused():
    """A table with a missing cell would shift every number: it is an error."""
    with pytest.raises(ValueError, match="a row has 1 cells for 2 headers"):
        Page("T").table(["a", "b"], [["x"]])


def test_same_calls_same_bytes():
    """A report can be compared with yesterday's by its hash."""
    first = Page("T").figure(_figure(), "C", "a").html()
    assert Page("T").figure(_figure(), "C", "a").html() == first


@pytest.mark.parametrize(
    ("value", "shown"),
    [(15002.8, "15,003"), (0.00001234, "0.00001234"), (0.5, "0.5"), (3.14159, "3.142"), (0.0, "0")],
)
def test_no_figure_is_shown_with_an_exponent(value, shown):
    """Fifteen seconds are 15,003 ms, not 1.5e+04, and the column stays right-aligned."""
    html = Page("x", "y").table(("a",), [(value,)], "").html()
    assert f">{shown}<" in html
