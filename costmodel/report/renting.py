"""Tables and pages of machines: spares for an availability, and ways of renting them."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.plan.availability import Spares
from costmodel.plan.study import Study
from costmodel.report.page import Page
from costmodel.report.tables import PageTable, ms, percent, usd


def spares_table(spares: Sequence[Spares]) -> PageTable:
    """From no spare to enough of them."""
    rows = tuple(
        (
            one.side,
            f"{one.needed} + {one.spare}",
            percent(one.answered, 4),
            percent(one.in_time, 3),
            percent(one.all_there, 4),
            "–" if one.usd_per_month is None else usd(one.usd_per_month),
            "enough" if one.enough else "too few",
        )
        for one in spares
    )
    headers = ("machines of", "N + k", "answered as meant", "within the p99 asked for",
               "N or more are there", "cascade per month", "")  # fmt: skip
    caption = "Spare machines (each number of them simulated, weighed by how often it is there)"
    return PageTable(caption, headers, rows)


def capacity_page(words: str, spares: Sequence[Spares]) -> Page:
    """The answer of `capacity` as a page."""
    page = Page("Capacity", "The smallest fleet that keeps the goal in every seed")
    for line in words.strip().splitlines():
        page.paragraph(line)
    if spares:
        table = spares_table(spares)
        page.table(table.headers, table.rows, table.caption)
    return page


def renting_table(studies: Sequence[Study]) -> PageTable:
    """Ways of renting side by side."""
    rows = tuple(
        (
            one.scenario.name,
            usd(one.bill.cascade),
            usd(float(one.bill.cascade - studies[0].bill.cascade)),
            f"{_rented(one, 'student'):.2f} / {_rented(one, 'teacher'):.2f}",
            ms(one.mean(lambda run: run.routes["all"].p99_s)),
            percent(one.mean(lambda run: run.refused_rate), 3),
            percent(one.mean(lambda run: run.degraded_rate), 3),
            f"{one.mean(lambda run: run.counts['lost_with_machine']):,.0f}",
            one.verdict.brief,
        )
        for one in studies
    )
    headers = ("machines", "cascade per month", "against the first", "student / teacher paid, mean",
               "p99", "refused", "degraded", "lost with a machine, a run", "verdict")  # fmt: skip
    return PageTable("Ways of renting the same system's machines, each simulated", headers, rows)


def _rented(one: Study, who: str) -> float:
    """Mean number of machines (or an API's slots) that are paid for."""
    return one.mean(lambda run: float(getattr(run, f"{who}_paid_s")) / run.seconds)


def renting_page(studies: Sequence[Study]) -> Page:
    """The same as a page."""
    page = Page("What if: other machines", studies[0].scenario.name)
    table = renting_table(studies)
    page.table(table.headers, table.rows, table.caption)
    return page
