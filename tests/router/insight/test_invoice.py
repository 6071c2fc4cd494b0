"""An invoice beside the ledger, line by line."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from router.errors import BadSettings
from router.insight.invoice import reconcile
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import sample_entry

FIRST = 1_764_547_200.0  # 2025-12-01


@pytest.fixture
def path(tmp_path):
    """A ledger of two days: two models, one asked for by its edition, one unpriced call."""
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    for at, model, usd in [
        (FIRST, "", "0.01"),
        (FIRST + 10, "big-2025-11-01", "0.02"),
        (FIRST + 20, "small", "0.5"),
        (FIRST + 86_400, "big", None),
    ]:
        ledger.append(
            sample_entry(
                at=at,
                model=model,
                teacher_usd=None if usd is None else Decimal(usd),
                attempts=1,
                input_tokens=100,
                output_tokens=1,
                route=Route.TEACHER,
                reason=Reason.LOW_CONFIDENCE,
            )
        )
    ledger.append(sample_entry(at=FIRST + 30))  # the student's: on nobody's invoice
    ledger.close()
    return path


def lines_of(path, tmp_path, text):
    """Reconcile a file of this content."""
    file = tmp_path / "invoice.csv"
    file.write_text(text, encoding="utf-8")
    return reconcile(path, file, "urgent", "big")


def test_each_day_and_model_has_its_difference(path, tmp_path):
    """Editions of a model are one; a line that one side lacks is shown, too."""
    head = "day,model,usd,input_tokens,output_tokens\n"
    text = f"{head}2025-12-01,big,0.02,150,2\n2025-12-01,big,0.01,50,\n"
    [big, small] = lines_of(path, tmp_path, text)
    assert (big.model, big.usd, big.tokens) == ("big", 0, 0)
    assert (small.model, small.invoice, small.usd) == ("small", None, Decimal("-0.5"))


def test_what_one_side_does_not_say_has_no_difference(path, tmp_path):
    """Tokens alone are compared in tokens; a call without a price is counted."""
    text = "\ufeffDate,Model,tokens\n2025-12-02,big,90\n"  # as a spreadsheet writes it
    [line] = lines_of(path, tmp_path, text)
    assert (line.day, line.usd, line.tokens) == (date(2025, 12, 2), None, -11)
    assert line.ledger.unpriced == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has the columns none"),
        ("day,usd\n2025-12-01,1\n", "model"),
        ("day,model\n2025-12-01,big\n", "usd or tokens"),
        ("day,model,usd\n", "no lines"),
        ("day,model,usd\nyesterday,big,1\n", "line 2"),
        ("day,model,usd\n2025-12-01,big,much\n", "line 2"),
    ],
)
def test_what_is_no_invoice_is_one_sentence(path, tmp_path, text, words):
    """Its line, and what is needed."""
    with pytest.raises(BadSettings, match=words):
        lines_of(path, tmp_path, text)
