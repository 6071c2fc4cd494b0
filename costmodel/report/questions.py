"""Tables and pages of the questions beside the month: compare, the year, forecast and actual."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.plan.compare import changed_fields, crossings, efficient, moved_lines
from costmodel.plan.forecast import Compared
from costmodel.plan.study import Study
from costmodel.plan.year import MonthOfYear
from costmodel.report.figures import compared_figure, year_figure
from costmodel.report.page import Page
from costmodel.report.tables import PageTable, ms, percent, usd


def compare_tables(studies: Sequence[Study]) -> tuple[PageTable, ...]:
    """Side by side, where they cross, and for each what it changes against the first."""
    best = efficient(studies)
    rows = tuple(
        (
            one.scenario.name,
            usd(one.bill.cascade),
            usd(one.bill.teacher_only),
            usd(one.savings[0].mid),
            percent(one.mean(lambda run: run.agreement), 2),
            ms(one.mean(lambda run: run.routes["all"].p99_s)),
            percent(one.mean(lambda run: run.degraded_rate + run.refused_rate), 2),
            "nothing beats it" if good else "beaten" if one.verdict.works else "does not work",
            one.verdict.brief,
        )
        for one, good in zip(studies, best, strict=True)
    )
    headers = ("scenario", "cascade per month", "teacher only", "saving", "agreement", "p99",
               "degraded or refused", "of these", "verdict")  # fmt: skip
    table = PageTable("Side by side (cost, agreement and p99: what nothing beats)", headers, rows)
    return (table, _crossing_table(studies), *_diffs(studies))


def _crossing_table(studies: Sequence[Study]) -> PageTable:
    rows = tuple(
        (
            one.what,
            one.second,
            f"{one.requests_per_day:,.0f} requests a day" if one.requests_per_day else "nowhere",
            f"{one.low:,.0f} to {one.high:,.0f}"
            if one.low is not None and one.high is not None
            else f"they cross in {percent(one.share)} of the draws",
            one.cheaper_above,
        )
        for one in crossings(studies)
    )
    first = studies[0].scenario.name
    return PageTable(
        f"Where each costs the same as {first} (closed form, whole machines)",
        ("what", "beside", "cost the same at", "P10 to P90", "costs less above it, or always"),
        rows,
    )


def _diffs(studies: Sequence[Study]) -> list[PageTable]:
    found = []
    first = studies[0]
    for other in studies[1:]:
        moved = moved_lines(first, other)
        rows = [(one.line, usd(one.before), usd(one.after), usd(one.by)) for one in moved]
        total = float(other.bill.cascade - first.bill.cascade)
        rows.append(
            ("cascade, all lines", usd(first.bill.cascade), usd(other.bill.cascade), usd(total))
        )
        names = f"{first.scenario.name} → {other.scenario.name}"
        headers = ("line", "before", "after", "moved by")
        found.append(PageTable(f"Which line moved: {names}", headers, tuple(rows)))
        fields = changed_fields(first.scenario, other.scenario)
        if fields:
            caption = f"What the files say differently: {names}"
            found.append(PageTable(caption, ("field", "before", "after"), tuple(fields)))
    return found


def compare_page(studies: Sequence[Study]) -> Page:
    """The same as a page, with cost against agreement as a plot."""
    names = ", ".join(one.scenario.name for one in studies)
    page = Page("What if: side by side", f"{names}; each simulated on its own traffic")
    words = "; ".join(
        f"{one.scenario.name}: {usd(one.bill.cascade)} a month at "
        f"{percent(one.mean(lambda run: run.agreement), 2)}" for one in studies
    )  # fmt: skip
    page.figure(
        lambda narrow: compared_figure(studies, narrow=narrow),
        "Cost against agreement",
        f"{words}.",
    )
    for table in compare_tables(studies):
        page.table(table.headers, table.rows, table.caption)
    return page


def year_table(months: Sequence[MonthOfYear]) -> PageTable:
    """Month by month, with the cash since the beginning."""
    rows = tuple(
        (
            str(one.number),
            f"{one.requests:,.0f}",
            usd(one.teacher_only),
            usd(one.cascade),
            usd(one.saving),
            usd(one.cash),
            usd(one.present_value),
        )
        for one in months
    )
    return PageTable(
        "Month by month (closed form; negative cash: not yet earned back)",
        ("month", "requests", "teacher only", "cascade", "saving", "cash since the start",
         "present value"),
        rows,
    )  # fmt: skip


def year_page(name: str, months: Sequence[MonthOfYear], sentence: str) -> Page:
    """The same as a page with the cumulative cash as a plot."""
    page = Page(f"{len(months)} months of “{name}”", "Closed form, months of 730 hours")
    page.paragraph(sentence, "good" if months[-1].cash > 0 else "bad")
    words = f"Cash after {len(months)} months: {usd(months[-1].cash)}."
    page.figure(
        lambda narrow: year_figure(months, narrow=narrow), "Cash since the beginning", words
    )
    table = year_table(months)
    page.table(table.headers, table.rows, table.caption)
    return page


def forecast_table(rows: Sequence[Compared]) -> PageTable:
    """What was projected beside what the ledger has."""

    def shown(value: float, unit: str) -> str:
        if unit == "usd":
            return usd(value)
        return percent(value, 2) if unit == "share" else f"{value:,.4g}" if value < 100 else (
            f"{value:,.0f}"
        )  # fmt: skip

    return PageTable(
        "Forecast and actual over the ledger's own time",
        ("line", "forecast", "actual", "off by"),
        tuple(
            (
                one.what,
                shown(one.forecast, one.unit),
                shown(one.actual, one.unit),
                percent(one.off) if one.off is not None else "–",
            )
            for one in rows
        ),
    )
