"""Amounts, shares and tables for people."""

from decimal import Decimal

import pytest

from costmodel.inputs.taskfile import read_deployment
from costmodel.report.figures import break_even_figure, cost_by_rail_figure
from costmodel.report.tables import markdown, percent, projection_tables, span, usd
from costmodel.whatif import project_deployment


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal(0), "$0.00"),
        (Decimal("-8968"), "−$8,968"),
        (Decimal("999.994"), "$999.99"),
        (Decimal("1000"), "$1,000"),
        (Decimal("0.0138"), "$0.0138"),
        (Decimal("-0.000001"), "$0.0000"),
    ],
)
def test_amounts_carry_their_sign_first(value, text):
    """A loss is visible at the first character; a rounded zero has no sign."""
    assert usd(value) == text


def test_shares_have_a_true_minus():
    """−58.6 %, not a hyphen."""
    assert percent(-0.586) == "−58.6%"


@pytest.mark.parametrize(
    ("months", "text"),
    [(0.001, "0.7 hours"), (0.1, "3.0 days"), (1.5, "45.6 days"), (5.31, "5.3 months")],
)
def test_spans_read_well(months, text):
    """Times are given in the unit a person would use."""
    assert span(months) == text


def test_every_row_is_as_wide_as_its_headers(task_file):
    """Every table can be printed by every renderer."""
    for table in projection_tables(project_deployment(read_deployment(task_file))):
        assert {len(row) for row in table.rows} == {len(table.headers)}, table.caption
    assert "\\|" in markdown([type(table)("c", ("a",), (("x|y",),))])


def test_bars_of_the_cost_figure_end_at_the_bill(task_file):
    """Each rail's stacked bars add up to its month."""
    projection = project_deployment(read_deployment(task_file))
    axes = cost_by_rail_figure(projection).axes[0]
    ends = [0.0] * len(projection.rails)
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        ends[row] = max(ends[row], bar.get_x() + bar.get_width())
    assert ends == pytest.approx([float(rail.usd_per_month) for rail in projection.rails])


def test_lines_of_the_break_even_figure_cross_where_the_table_says(task_file):
    """At the marked month, teacher-only has cost as much as the cascade with its one-off cost."""
    projection = project_deployment(
        read_deployment(task_file, changes={"one_off.training_usd": 20_000})
    )
    teacher, cascade, marker = break_even_figure(projection).axes[0].lines[:3]
    at = marker.get_xdata()[0]

    def height(line):
        (x0, x1), (y0, y1) = line.get_xdata(), line.get_ydata()
        return y0 + (y1 - y0) * (at - x0) / (x1 - x0)

    assert height(teacher) == pytest.approx(height(cascade))
    assert marker.get_ydata()[0] == pytest.approx(height(teacher))


def test_a_cascade_that_never_pays_still_has_its_figures(task_file):
    """A loss is drawn like a saving."""
    projection = project_deployment(
        read_deployment(task_file, changes={"traffic.requests_per_day": 10})
    )
    assert len(break_even_figure(projection).axes[0].lines) == 2
    assert cost_by_rail_figure(projection).axes
