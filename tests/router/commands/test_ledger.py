"""`raisehand ledger`."""

import json
from decimal import Decimal

import pytest
from click.testing import CliRunner

from router.commands.ledger import ledger
from router.errors import BadLedger
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import sample_entry


@pytest.fixture
def path(tmp_path):
    """A ledger with two kept answers, one escalation and one unpriced one."""
    written = SqliteLedger(tmp_path / "ledger.sqlite")
    for changes in (
        {"at": 100.0},
        {},
        {"route": Route.TEACHER, "reason": Reason.LOW_CONFIDENCE, "teacher_usd": Decimal("0.25")},
        {"route": Route.TEACHER, "reason": Reason.LOW_CONFIDENCE, "teacher_usd": None},
    ):
        written.append(sample_entry(**changes))
    written.close()
    return written.path


def test_json_has_exact_sums_as_strings(path):
    """Dollars are exact decimal strings, unpriced requests are counted."""
    result = CliRunner().invoke(ledger, [str(path), "--json"])
    document = json.loads(result.output)
    assert document["all"]["requests"] == 4
    assert document["all"]["unpriced"] == 1
    assert document["by_route"]["teacher"]["teacher_usd"] == "0.250000000000"
    assert document["all"]["usd"] == "0.250000049612"
    assert document["by_reason"] == {"confident": 2, "low_confidence": 2}


def test_table_says_what_is_not_in_the_sums(path):
    """People get shares, sums and a sentence on unpriced requests."""
    output = CliRunner().invoke(ledger, [str(path)]).output
    assert "student" in output
    assert "50.00%" in output
    assert "1 requests have a part with no known price" in output


def test_since_leaves_older_entries_out(path):
    """`--since` is UTC and inclusive."""
    output = CliRunner().invoke(ledger, [str(path), "--since", "2025-01-01", "--json"]).output
    assert json.loads(output)["all"]["requests"] == 3


def test_an_empty_ledger_is_no_error(tmp_path):
    """Zero requests print as zeros."""
    SqliteLedger(tmp_path / "l.sqlite").close()
    result = CliRunner().invoke(ledger, [str(tmp_path / "l.sqlite")])
    assert result.exit_code == 0


def test_a_missing_file_is_one_sentence(tmp_path):
    """The error names the file and what writes one."""
    result = CliRunner().invoke(ledger, [str(tmp_path / "none.sqlite")])
    assert isinstance(result.exception, BadLedger)
    assert "there is no ledger at" in str(result.exception)
