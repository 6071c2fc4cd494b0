"""Tables on a terminal of 80 columns: no word is broken."""

import io

import pytest
from rich.console import Console

from costmodel.report.tables import PageTable
from costmodel.report.terminal import print_tables

WIDE = PageTable(
    "Side by side",
    ("scenario", "cascade per month", "saving", "of teacher", "escalated", "agreement", "p99",
     "degraded or refused", "verdict"),
    (
        ("student.replicas=2,policy.threshold=0.8", "$24,636", "$232,361", "9.6%", "8.03%",
         "97.06%", "926 ms", "0.00%", "pays"),
        ("student.replicas=4,policy.threshold=0.8", "$25,000", "−$1,000", "9.7%", "8.03%",
         "97.06%", "920 ms", "0.00%", "does not pay"),
    ),
)  # fmt: skip


def _printed(table: PageTable, width: int) -> str:
    target = io.StringIO()
    print_tables(Console(file=target, width=width), [table])
    return target.getvalue()


YEAR = PageTable(
    "Month by month",
    ("month", "requests", "teacher only", "cascade", "saving", "cash since the start",
     "present value"),
    (("12", "517,097,053", "$439,776", "$42,246", "$397,530", "$3,693,979", "$3,693,979"),),
)  # fmt: skip


@pytest.mark.parametrize("table", [WIDE, YEAR], ids=["wide", "year"])
def test_no_word_is_broken(table):
    """Every figure's name and every cell can be found as it is, on any width of a terminal."""
    cells = [cell for row in (table.headers[1:], *table.rows) for cell in row]
    words = {word for cell in cells for word in cell.split()}
    for width in range(48, 200):
        assert words <= set(_printed(table, width).split()), width


def test_a_table_that_fits_stays_a_table():
    """On a wide terminal each row is one line."""
    lines = [line for line in _printed(WIDE, 200).splitlines() if "replicas=2" in line]
    assert len(lines) == 1
    assert "$24,636" in lines[0]
    assert "does not pay" in lines[0] or "pays" in lines[0]


def test_prose_beside_a_name_is_wrapped_and_no_card():
    """A unit price's words may be long: two columns stay two columns."""
    price = PageTable("Unit prices", ("who", "price"), (("teacher", "a " * 200),))
    assert "price" in _printed(price, 80).splitlines()[1]
