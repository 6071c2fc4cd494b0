"""A chunk of a table is in the ledger once, whole, and adds up with everything else."""

from decimal import Decimal

import pytest

from router.ledger.chunks import ChunkLedger
from router.ledger.entry import Sums
from router.ledger.read import read_entries, read_totals
from router.policy import Reason, Route
from router.testing import sample_entry

KEPT = (Route.STUDENT, Reason.CONFIDENT)
SUMS = {KEPT: Sums(requests=1000, student_usd=Decimal("0.000012403") * 1000)}


def test_a_chunk_that_is_tried_again_is_booked_once(tmp_path):
    """A run that was killed between the ledger and its journal books the same chunk again."""
    ledger = ChunkLedger(tmp_path / "ledger.sqlite")
    entries = [sample_entry(request_id="job-5", route=Route.TEACHER, teacher_usd=Decimal("0.5"))]
    assert ledger.book("job", 0, "urgent", entries, SUMS)
    assert not ledger.book("job", 0, "urgent", entries, SUMS)
    assert ledger.book("job", 1, "urgent", [], SUMS)
    assert ledger.book("another", 0, "urgent", [], SUMS)
    totals = read_totals(ledger.path)
    assert totals.by_route["student"].requests == 3000
    assert totals.by_route["student"].student_usd == Decimal("0.037209")
    assert totals.by_route["teacher"].teacher_usd == Decimal("0.5")
    assert [entry.request_id for entry in read_entries(ledger.path)] == ["job-5"]


def test_a_chunk_is_booked_whole_or_not_at_all(tmp_path):
    """A fault in the middle leaves nothing behind, and the chunk can be booked again."""
    ledger = ChunkLedger(tmp_path / "ledger.sqlite")
    with pytest.raises(Exception, match=r"."):
        ledger.book("job", 0, "urgent", [sample_entry(), sample_entry(at=None)], SUMS)
    assert read_totals(ledger.path).all.requests == 0
    assert ledger.book("job", 0, "urgent", [sample_entry()], SUMS)
    assert read_totals(ledger.path).all.requests == 1001


def test_calls_without_an_answer_cost_and_are_no_request(tmp_path):
    """Their dollars and attempts are in the sums of the day; no row is counted for them."""
    ledger = ChunkLedger(tmp_path / "ledger.sqlite")
    lost = Sums(teacher_usd=Decimal("0.25"), input_tokens=7, attempts=1, estimated=1)
    ledger.book("job", 0, "urgent", [], {(Route.REFUSED, Reason.ROUTER_STOPPED): lost})
    [(route, sums)] = read_totals(ledger.path).by_route.items()
    assert (route, sums.requests, sums.attempts, sums.usd) == ("refused", 0, 1, Decimal("0.25"))
