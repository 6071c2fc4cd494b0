"""T29: the wall clock may jump; only what is written down may notice."""

import time

from router.ledger.read import read_entries, read_totals
from router.ledger.sqlite import SqliteLedger
from router.policy import Route
from router.request import Ask


async def test_a_jumping_wall_clock_changes_timestamps_and_nothing_else(rig, tmp_path):
    """Hours back and days ahead between answers: latencies, deadlines and routes are unmoved."""
    made = await rig()
    jumps = iter([0.0, -7_200.0, 86_400.0 * 400, -1.0, 0.0, 0.0])
    offset = 0.0

    def wall():
        nonlocal offset
        offset += next(jumps)
        return time.time() + offset

    made.pipeline.booking.wall = wall
    ledger = made.pipeline.booking.ledger = SqliteLedger(tmp_path / "l.sqlite", interval_s=0.01)
    for text in ("help", "maybe", "nice", "maybe", "help"):
        deadline = made.pipeline.clock() + 5.0
        ask = Ask(text=text, request_id="r", surface="classify", deadline=deadline)
        answer = await made.pipeline.answer(ask)
        assert answer.route is (Route.TEACHER if text == "maybe" else Route.STUDENT)
    ledger.close()
    entries = list(read_entries(ledger.path))
    assert len(entries) == read_totals(ledger.path).all.requests == 5
    assert all(0 <= entry.latency_ms < 1_000 for entry in entries)
    assert entries[-1].at - entries[0].at > 3_600
