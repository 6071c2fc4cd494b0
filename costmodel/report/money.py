"""The money page: a projection that a manager can read and an engineer can check."""

from __future__ import annotations

from decimal import Decimal

from costmodel.bill.feasibility import feasible_deployment
from costmodel.bill.projection import Projection
from costmodel.bill.verdict import Verdict
from costmodel.inputs.deployment import Deployment
from costmodel.plan.pareto import ParetoPoint, pareto_points
from costmodel.report.figures import (
    break_even_figure,
    cost_by_rail_figure,
    pareto_figure,
    tornado_figure,
)
from costmodel.report.page import Headline, Page, figure_html
from costmodel.report.paid import paid_tables
from costmodel.report.tables import (
    PageTable,
    doubt_words,
    doubts,
    failure_costs,
    judgement,
    limits,
    percent,
    projection_tables,
    usd,
)
from costmodel.uncertainty.draws import INPUTS, Uncertain
from costmodel.whatif import failures_stated, verdict


def money_page(deployment: Deployment, projection: Projection, uncertain: Uncertain) -> Page:
    """Headlines, verdict, figures, then every table."""
    found = verdict(deployment, projection)
    bundle = f", bundle {deployment.bundle}" if deployment.bundle else ", no bundle: a guess"
    page = Page(
        f"What a month of “{deployment.name}” costs",
        f"Month of 730 hours from {projection.starts}{bundle}",
    )
    page.paragraph(found.sentence, found.tone)
    for warning in projection.warnings:
        page.paragraph(f"Warning: {warning}", "bad")
    page.headlines(_headlines(projection, found))
    add_figures(page, projection)
    add_doubts(page, deployment, projection, uncertain)
    page.heading("The figures")
    for table in money_tables(deployment, projection, uncertain):
        page.table(table.headers, table.rows, table.caption)
    return page


def money_tables(
    deployment: Deployment, projection: Projection, uncertain: Uncertain
) -> tuple[PageTable, ...]:
    """Every table of the page, for a terminal too."""
    rows = [
        ("doubts", doubt_words(deployment.doubt)),
        failure_costs(
            failures_stated(deployment),
            Decimal(repr(projection.requests_per_month)),
            projection.savings.mid,
        ),
    ]
    said, profile = deployment.student.price.requests_per_second, deployment.profile
    if said is not None and profile is not None:
        rows.append(
            (
                "student speed",
                f"{said:,.0f} requests a second per machine as stated; measured on one core with "
                f"full batches: {profile.texts_per_s:,.0f} ({profile.machine})",
            )
        )
    stated = PageTable("Stated, not counted", ("", "value"), tuple(rows))
    found = judgement(feasible_deployment(deployment, projection))
    bill, *others = projection_tables(projection)
    paid = paid_tables(projection.rails, deployment.prices)
    return (found, bill, *paid, *others, doubts(uncertain), limits(uncertain), stated)


def chart_blocks(deployment: Deployment, projection: Projection) -> dict[str, str]:
    """The figures that follow every control of the what-if page, by name, as HTML."""
    bills = ", ".join(
        f"{rail.name.replace('_', ' ')} {usd(rail.usd_per_month)}" for rail in projection.rails
    )
    found = {
        "rails": figure_html(
            lambda narrow: cost_by_rail_figure(projection, narrow=narrow),
            f"Monthly bill by rail: {bills}.",
            "rails",
        )
    }
    points = pareto_points(projection, deployment.risk_coverage)
    if len(points) > 1:
        here = ParetoPoint(
            float("nan"),
            projection.escalation.mid,
            projection.agreement.mid,
            projection.cost_ratio.mid,
        )
        found["pareto"] = figure_html(
            lambda narrow: pareto_figure(points, here, narrow=narrow),
            f"Chosen: {percent(here.agreement, 2)} agreement at {percent(here.cost_ratio)} of the "
            "teacher's cost.",
            "pareto",
        )
    return found


def add_doubts(
    page: Page, deployment: Deployment, projection: Projection, uncertain: Uncertain
) -> None:
    """The tornado, and cost against quality with the certified threshold."""
    page.figure(
        lambda narrow: tornado_figure(uncertain, narrow=narrow),
        "What moves the saving",
        "Widest first: " + ", ".join(INPUTS[swing.input] for swing in uncertain.tornado) + ".",
    )
    points = pareto_points(projection, deployment.risk_coverage)
    if len(points) > 1:
        certified = deployment.certified_threshold
        here = ParetoPoint(
            float("nan") if certified is None else certified,
            projection.escalation.mid,
            projection.agreement.mid,
            projection.cost_ratio.mid,
        )
        page.figure(
            lambda narrow: pareto_figure(points, here, narrow=narrow),
            "Cost against quality",
            f"Chosen: {percent(here.agreement, 2)} agreement at {percent(here.cost_ratio)} of the "
            "teacher's cost.",
        )


def add_figures(page: Page, projection: Projection) -> None:
    """The bill by rail and break-even, with what they show in words."""
    bills = ", ".join(
        f"{rail.name.replace('_', ' ')} {usd(rail.usd_per_month)}" for rail in projection.rails
    )
    page.figure(
        lambda narrow: cost_by_rail_figure(projection, narrow=narrow),
        "The bill by rail",
        f"Monthly bill by rail: {bills}.",
    )
    date = projection.break_even.date
    when = f"earned back on {date}" if date else "never earned back at this traffic"
    page.figure(
        lambda narrow: break_even_figure(projection, narrow=narrow),
        "Break-even",
        f"Cumulative cost of teacher-only and cascade; the one-off cost is {when}.",
    )


def _headlines(projection: Projection, found: Verdict) -> list[Headline]:
    saving = projection.savings
    agreement = projection.agreement
    return [
        Headline(
            usd(saving.mid),
            found.saved,
            f"{usd(saving.low)} to {usd(saving.high)}, against the price given",
            found.tone,
        ),
        Headline(
            percent(projection.cost_ratio.mid),
            "of the teacher-only bill",
            f"{percent(projection.cost_ratio.low)} to {percent(projection.cost_ratio.high)}",
        ),
        Headline(
            percent(agreement.mid),
            "of answers agree with the teacher",
            f"at least {percent(agreement.low)}, measured on {projection.n:,} rows",
        ),
        Headline(
            percent(projection.escalation.mid),
            "of requests escalate",
            f"{percent(projection.escalation.low)} to {percent(projection.escalation.high)}",
        ),
    ]
