"""One self-contained HTML page: text, tables and figures, readable on screen and on paper.

Nothing is loaded from elsewhere: the style is inline, figures are inline SVG that follows the
reader's light or dark setting. The same calls give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape as escaped
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

Tone = Literal["plain", "good", "bad"]

_NUMBER = re.compile(r"^[-+−±≤≥<>~≈$€ ]*\d[\d,.]*\s*(%|×|[kKMG]?)(\s*[\w/µ·]+)?$")
_ADDRESS = re.compile(r"(https://[^\s)\"<>]+[^\s)\"<>.,;:])")
_MISSING = {"", "–", "-", "—", "n/a"}
_MATPLOTLIB_IDS = re.compile(r' id="(?:figure|axes|patch|text|line2d|matplotlib\.axis|xtick|ytick|'
                             r'legend|PathCollection|LineCollection|FillBetweenPolyCollection|'
                             r'PolyCollection|QuadMesh)_\d+"')  # fmt: skip


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure a reader must not miss: its value in large type, what it is, what it rests on."""

    value: str
    label: str
    detail: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class _Heading:
    text: str
    kind: str = "heading"

    @property
    def named(self) -> str:
        """What the list of contents says."""
        return self.text


@dataclass(frozen=True, slots=True)
class _Paragraph:
    text: str
    tone: Tone
    kind: str = "paragraph"
    named: str = ""


@dataclass(frozen=True, slots=True)
class _Facts:
    items: tuple[tuple[str, str], ...]
    kind: str = "facts"
    named: str = ""


@dataclass(frozen=True, slots=True)
class _Headlines:
    items: tuple[Headline, ...]
    kind: str = "headlines"
    named: str = ""


@dataclass(frozen=True, slots=True)
class _Verdict:
    word: str
    text: str
    tone: Tone
    kind: str = "verdict"
    named: str = ""


@dataclass(frozen=True, slots=True)
class _Table:
    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]
    kind: str = "table"

    @property
    def named(self) -> str:
        """What the list of contents says."""
        return self.caption


@dataclass(frozen=True, slots=True)
class _Figure:
    caption: str
    svg: str
    kind: str = "figure"

    @property
    def named(self) -> str:
        """What the list of contents says."""
        return self.caption


class Page:
    """A report that is built from top to bottom; every call returns the page itself."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._blocks: list[
            _Heading | _Paragraph | _Facts | _Headlines | _Verdict | _Table | _Figure
        ] = []

    def heading(self, text: str) -> Self:
        """Start a section."""
        self._blocks.append(_Heading(text))
        return self

    def paragraph(self, text: str, tone: Tone = "plain") -> Self:
        """Add plain text; `bad` marks a warning, `good` a promise that was kept."""
        self._blocks.append(_Paragraph(text, tone))
        return self

    def verdict(self, word: str, text: str, tone: Tone) -> Self:
        """Add the one word that the page is about, as the largest on it, and what it means."""
        self._blocks.append(_Verdict(word, text, tone))
        return self

    def facts(self, items: Sequence[tuple[str, str]]) -> Self:
        """Add small print that a reader looks for first: when, what, by whom, on which machine."""
        self._blocks.append(_Facts(tuple(items)))
        return self

    def headlines(self, items: Sequence[Headline]) -> Self:
        """Add a row of large figures."""
        self._blocks.append(_Headlines(tuple(items)))
        return self

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[object]], caption: str = ""
    ) -> Self:
        """Add a table; a column whose cells are all numbers (or amounts) is right-aligned.

        Raises:
            ValueError: a row has not as many cells as there are headers.
        """
        cells = tuple(tuple(_cell(value) for value in row) for row in rows)
        for row in cells:
            if len(row) != len(headers):
                raise ValueError(f"a row has {len(row)} cells for {len(headers)} headers: {row}")
        right = tuple(_is_right([row[k] for row in cells], k) for k in range(len(headers)))
        self._blocks.append(_Table(caption, tuple(headers), cells, right))
        return self

    def figure(self, figure: Figure | Drawn, caption: str, alt: str) -> Self:
        """Add a matplotlib figure as inline SVG; `alt` says in words what it shows.

        A figure that can be drawn narrow, too, is readable on a phone.
        """
        self._blocks.append(_Figure(caption, figure_html(figure, alt, str(len(self._blocks)))))
        return self

    def html(self) -> str:
        """The whole page as one HTML document."""
        template = environment().get_template("page.html.jinja")
        return template.render(title=self.title, subtitle=self.subtitle, blocks=self._blocks)


Drawn = Callable[[bool], "Figure"]
"""A figure, drawn narrow for a phone or wide."""


def figure_html(figure: Figure | Drawn, alt: str, salt: str) -> str:
    """A figure as inline SVG, twice where it can be narrow: the reader's width shows one."""
    if not callable(figure):
        return _svg(figure, alt, salt)
    wide, narrow = _svg(figure(False), alt, salt), _svg(figure(True), alt, f"{salt}n")
    return f'<div class="chart-wide">{wide}</div><div class="chart-narrow">{narrow}</div>'


def linked(text: str) -> str:
    """Text as HTML, escaped, whose web addresses can be followed."""
    # The apostrophe is written as everywhere else on the page.
    parts = (escaped(part, quote=True).replace("&#x27;", "&#39;") for part in _ADDRESS.split(text))
    return "".join(
        f'<a href="{part}">{part}</a>' if k % 2 else part for k, part in enumerate(parts)
    )


def environment() -> Environment:
    """The templates of this package; everything that is put into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("costmodel.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["linked"] = linked
    return found


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float | Decimal):
        if isinstance(value, Decimal):
            return f"{value:,f}"
        # Four digits, and never an exponent: nobody reads 1.5e+04 as fifteen seconds.
        if abs(value) >= 1000 or not math.isfinite(value):
            return f"{value:,.0f}"
        return f"{Decimal(f'{value:.4g}'):f}"
    return str(value)


def is_numeric(cells: Sequence[str]) -> bool:
    """Whether every filled cell is a number, an amount or a share."""
    filled = [cell for cell in cells if cell.strip() not in _MISSING]
    return bool(filled) and all(_NUMBER.match(cell.strip()) for cell in filled)


def _is_right(cells: Sequence[str], column: int) -> bool:
    """Whether a column stands to the right: numbers, and dashes where numbers would be."""
    nothing = bool(cells) and all(cell.strip() in _MISSING for cell in cells)
    return is_numeric(cells) or (nothing and column > 0)


def _svg(figure: Figure, alt: str, salt: str) -> str:
    import matplotlib as mpl

    target = io.StringIO()
    # Ids are unique on the page (the salt) and the same in every run (no clock, no chance).
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(
            target, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    text = target.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _MATPLOTLIB_IDS.sub("", svg)
    # Black and white are the page's ink and paper, so that dark mode works.
    svg = re.sub(r"(fill|stroke): #000000", r"\1: currentColor", svg)
    svg = re.sub(r"(fill|stroke): #ffffff", r"\1: var(--paper)", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
