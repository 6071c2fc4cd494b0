"""The document of the page: one for everybody who looks, made only while somebody looks."""

import asyncio
import json
import os
import signal
import sys

import pytest

from router.errors import Unavailable
from router.process.board.board import Board
from router.process.board.books import SlowBooks
from router.process.board.document import document_of
from router.process.board.maker import MakerProcess, PageFiles, PageMaker
from router.process.board.promise import AuditIntervals, watched_of
from router.process.board.pulse import Pulse
from router.process.board.rates import RecentRates
from router.process.board.routes import BoardRoutes
from router.promise.watch import judged_by
from router.telemetry.counters import TallyReading
from router.testing import sample_audit

TASK = {
    "bundle": "a", "previous": None, "canary": None, "canary_share": 0.0, "thresholds": (0.8, 0.9),
    "raised_threshold": None, "queue_depth": 2, "teacher_inflight": 1, "teacher_limit": 4,
    "teacher_refusal_probability": 0.0, "escalation_budget_fill": None, "audits": None,
    "audits_lost": 1,
}  # fmt: skip
BOOKS = SlowBooks(spent=None, saved={}, bundles={}, events=[])


def pulse(**changes):
    """A worker with one task."""
    return Pulse(
        draining=False, ledger_dropped=0, ledger_backlog_s=0.0,
        tally=TallyReading([], {}, []), tasks={"urgent": TASK | changes},
    )  # fmt: skip


class _Source:
    """Two workers, one of which is away; counts how often it was asked."""

    def __init__(self):
        self.asked = 0

    async def pulses(self):
        self.asked += 1
        return [pulse(), None]


class _Maker:
    """Makes the document at once, where the tests are."""

    def __init__(self):
        self._maker = PageMaker(PageFiles([], None, None).open())

    async def make(self, pulses):
        return self._maker.make(pulses)

    def close(self):
        """There is nothing to stop."""


def test_workers_are_added_up():
    """Queues and calls are sums, what holds back the most counts, and who differs is said."""
    both = [pulse(), pulse(teacher_refusal_probability=0.5, bundle="b"), None]
    document = document_of(both, BOOKS, RecentRates(), AuditIntervals(), 0.0)
    task = document["tasks"]["urgent"]
    assert document["workers"] == [True, True, False]
    assert (task["queue"], task["audits_lost"], task["differ"]) == (4, 2, True)
    assert task["teacher"] == {
        "inflight": 2, "limit": 8, "refused": 0.5, "budget_fill": None, "check": None, "end": None,
    }  # fmt: skip


def test_nobody_there_is_a_document_too():
    """While all workers start, the page says so instead of failing."""
    document = document_of([None, None], BOOKS, RecentRates(), AuditIntervals(), 0.0)
    assert (document["tasks"], document["workers"]) == ({}, [False, False])


def test_audits_have_an_interval_that_may_be_looked_at():
    """The worker that heard the most is right; the interval is wider than a fixed-n one."""
    heard = {"audits": 400, "disagreements": 8, "disagreement": 0.02, "e_value": 0.5,
             "status": "watching", "alarm_at": 20.0}  # fmt: skip
    intervals = AuditIntervals()
    told = watched_of(
        "urgent", [{"audits": {"audits": 10, "disagreements": 9}}, {"audits": heard}], intervals
    )
    assert (told.audits, told.agreement, told.alarmed) == (400, 0.98, False)
    assert told.low < 0.96 < 0.98 < told.high
    assert watched_of("urgent", [{"audits": None}], intervals) is None
    none = {"audits": 0, "disagreements": 0, "disagreement": None}
    assert watched_of("urgent", [{"audits": none}], intervals).agreement is None


def test_each_promised_class_has_its_own_interval():
    """As the judge counts it: audits of that label alone, beside its own line; none yet is none."""
    judge = judged_by("system", 0.8, classes={"urgent": 0.85, "spam": 0.8})(None)
    for i in range(300):
        judge.observe(
            sample_audit(
                student_label="calm" if i % 10 == 0 else "urgent", teacher_label="urgent",
                disagreed=i % 10 == 0, escalated=False, propensity=1.0,
            )
        )  # fmt: skip
    told = watched_of("urgent", [{"audits": judge.verdict.figures}], AuditIntervals())
    urgent, spam = told.classes
    assert (urgent.label, urgent.audits, urgent.disagreements) == ("urgent", 300, 30)
    assert urgent.low < 0.9 < urgent.high
    assert (urgent.line, spam.line) == (pytest.approx(0.85), pytest.approx(0.8))
    assert (spam.audits, spam.low, spam.high) == (0, None, None)


def test_intervals_are_made_anew_some_hundred_times_in_a_life(monkeypatch):
    """One costs 5 ms, and labels may be many: counts that hardly changed share it."""
    made = []
    monkeypatch.setattr(
        "router.process.board.promise.confidence_sequence", lambda *at: made.append(at) or (0, 1)
    )
    intervals = AuditIntervals()
    for n in range(1, 100_001):
        intervals.of("urgent", n - n // 50, n)
    assert len(made) < 1_000
    intervals.of("urgent", 15, 15)  # another spell, another bundle: begun anew
    assert made[-1] == (15, 15)


async def test_one_document_for_all_who_look_and_none_for_nobody():
    """Two readers cost no more than one; when both have left, nothing is asked any more."""
    source = _Source()
    board = Board(source, _Maker(), tick_s=0.001)
    streams = [board.follow(), board.follow()]
    for _ in range(3):
        told = await asyncio.gather(*(anext(stream) for stream in streams))
        assert json.loads(told[0])["tasks"]["urgent"]["bundle"] == "a"
    for stream in streams:
        await stream.aclose()
    await asyncio.sleep(0.01)
    asked = source.asked
    await asyncio.sleep(0.02)
    assert source.asked == asked


async def test_a_board_that_closes_ends_its_streams():
    """A server that stops waits for its connections: none may stay open for ever."""
    board = Board(_Source(), _Maker(), tick_s=3600.0)
    stream = board.follow()
    await anext(stream)
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    await board.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_the_document_is_made_in_another_process_behind_all_others(task):
    """It reads the files there, gets what is left over, is begun again if it ends, and is ended."""
    maker = MakerProcess(PageFiles([task], None, None))
    try:
        document = json.loads(await maker.make([pulse(), None]))
        assert (document["workers"], document["tasks"]["urgent"]["queue"]) == ([True, False], 2)
        first = maker.process_id
        assert first != os.getpid()
        assert os.getpriority(os.PRIO_PROCESS, first) == 19
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await maker.make([pulse()])
        assert json.loads(await maker.make([pulse()]))["workers"] == [True]
        second = maker.process_id
    finally:
        maker.close()
    assert first != second
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
    with pytest.raises(Unavailable):
        await maker.make([pulse()])


async def test_a_page_that_cannot_be_made_once_is_made_the_next_time():
    """Whoever looks keeps looking."""
    failing = [True]

    class Breaking(_Maker):
        async def make(self, pulses):
            if failing and failing.pop():
                raise Unavailable("What makes the page has ended; it is started again.")
            return await super().make(pulses)

    board = Board(_Source(), Breaking(), tick_s=0.001)
    stream = board.follow()
    assert json.loads(await anext(stream))["workers"] == [True, False]
    await stream.aclose()
    await board.close()


async def test_a_page_that_cannot_be_made_is_said_to_be_unavailable(request_asgi):
    """A clear refusal that a client may try again, and no error of the router's."""

    class Broken(_Maker):
        async def make(self, pulses):
            raise Unavailable("What makes the page has ended; it is started again.")

    routes = BoardRoutes(Board(_Source(), Broken()), sys.exit)
    said = await request_asgi(routes, "GET", "/board", [b""])
    assert said.status == 503
    assert "it is started again" in said.json["error"]["message"]
