"""The measurement of a broken teacher: what it sends, what it counts, what it concludes."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from router.bench.faults import (
    DEADLINE_MS,
    HEALTHY,
    Felt,
    _note,
    _report,
    _requests,
    _retries,
    _teacher,
)  # fmt: skip
from router.bench.load import BenchCounts
from router.ledger.sqlite import SqliteLedger
from router.testing import sample_entry


def tally(latencies, status=200):
    """What came back."""
    return BenchCounts(1.0, statuses=Counter({status: len(latencies)}), latencies=list(latencies))


def test_sure_and_unsure_texts_are_told_apart_by_the_threshold(tmp_path):
    """A fifth of the texts is below it; every request has the deadline."""
    sure, unsure, threshold = _requests(tmp_path)
    assert len(unsure) == pytest.approx(0.2 * (len(sure) + len(unsure)), rel=0.02)
    assert 0 < threshold < 1
    assert all(b'"deadline_ms":400' in request for request in (*sure, *unsure))


def test_a_ratio_is_of_the_healthy_run_beside_it():
    """Twice the p99 of its neighbour is a ratio of two, whatever the other runs showed."""
    felt = {HEALTHY: Felt(), "dead": Felt()}
    for scale in (1.0, 5.0, 2.0):
        _note(felt["dead"], tally([0.002 * scale] * 10), tally([0.1]), Counter())
        _note(felt[HEALTHY], tally([0.001 * scale] * 10), tally([0.1]), Counter())
        felt["dead"].p99_beside_ms.append(1.0 * scale)
    assert _report(felt)["faults"]["dead"]["p99_ratio_runs"] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(("latest_ms", "late_ms"), [(390, 0.0), (400, 0.0), (430, 30.0)])
def test_lateness_is_what_is_beyond_the_deadline(latest_ms, late_ms):
    """Only the slowest unsure answer counts, and only by what is too much."""
    felt = Felt()
    _note(felt, tally([0.9]), tally([0.1, latest_ms / 1000]), Counter())
    assert felt.late_ms == [pytest.approx(late_ms, abs=0.1)]
    assert DEADLINE_MS == 400


@pytest.mark.parametrize(("counted", "unnamed"), [(12, 0), (11, 1), (13, 1)])
def test_an_answer_that_no_metric_counts_is_noticed(counted, unnamed):
    """Requests by reason add up to the answers that came, refusals included."""
    felt = Felt()
    grown = Counter({("requests", "student/confident"): counted, ("attempts", "ok"): 5})
    _note(felt, tally([0.1] * 10), tally([0.1] * 2, status=503), grown)
    assert felt.unnamed == unnamed
    assert felt.attempts == {"ok": 5}


def test_retries_are_what_the_ledger_billed(tmp_path):
    """Attempts beyond the first of each call, against a tenth of the calls and the reserve."""
    ledger = SqliteLedger(tmp_path / "l.sqlite")
    for i, attempts in enumerate([0, 1, 1, 2, 1, 2]):
        ledger.append(sample_entry(request_id=f"r{i}", attempts=attempts))
    ledger.close()
    assert _retries(tmp_path / "l.sqlite") == {
        "teacher_calls": 5, "retries": 2, "retries_allowed": 3,
    }  # fmt: skip


@pytest.mark.e2e
def test_the_teacher_does_what_it_is_told():
    """Healthy it answers, dead it is not there, healed it is there again on the same port."""
    import json
    import urllib.error
    import urllib.request

    def ask(port):
        body = json.dumps({"input": ["some words"]}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/classify", body)
        with urllib.request.urlopen(request, timeout=5) as response:
            return json.loads(response.read())["data"][0]["label"]

    with _teacher(0) as teacher:
        teacher.become(HEALTHY)
        assert ask(teacher.port) == "intent_00"
        teacher.become("dead")
        with pytest.raises(urllib.error.URLError):
            ask(teacher.port)
        teacher.become("slow")
        started = time.monotonic()
        assert ask(teacher.port) == "intent_00"
        assert time.monotonic() - started > 0.9
