"""The measurement of a broken teacher: what it sends, what it counts, what it concludes."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from loadtests.bench.faults import (
    DEADLINE_MS,
    HEALTHY,
    Felt,
    _mixed,
    _note,
    _report,
    _retries,
    _teacher,
)  # fmt: skip
from loadtests.figures.load_report import report_of
from loadtests.generator.tallies import RequestOutcome, Tally
from loadtests.inputs.rows import rows_of
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.surface import body_of
from router.ledger.sqlite import SqliteLedger
from router.testing import sample_entry
from tests.waiting import PATIENCE_S


def report(sure_s, unsure_s, failure=None):
    """What came back: a thousand answers of the student and some of the teacher, or none of it."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x", rate=1000, duration_s=1)
    tally = Tally(1.0)
    sure = [(sure_s, "student", None)] * 1000
    for i, (latency_s, route, lost) in enumerate(
        sure + [(each, "teacher", failure) for each in unsure_s]
    ):
        tally.arrive(0.5)
        status = 503 if lost else 200
        tally.record(RequestOutcome(0.5, i, 0.0, latency_s, status, lost, route), spec)
    return report_of(spec, tally)


def test_sure_and_unsure_texts_are_mixed_as_their_rates_are(tmp_path):
    """One in 21 is below the threshold, evenly over the run; every request has the deadline."""
    from router.bench.subject import make_student, make_task

    spec, threshold = _mixed(tmp_path, 1000, 50)
    rows = rows_of(spec)
    student = make_student(make_task("http://127.0.0.1:9", tmp_path).schema_)
    unsure = [p.confidence < threshold for p in student.predict([row.text for row in rows])]
    assert 0 < threshold < 1
    assert all(sum(unsure[at : at + 21]) == 1 for at in range(0, 8_400, 21))
    assert b'"deadline_ms":400' in body_of(spec, rows[0].text)
    assert (spec.rate, spec.order) == (1050, "sequential")


def test_a_ratio_is_of_the_healthy_run_beside_it():
    """Twice the p99 of its neighbour is a ratio of two, whatever the other runs showed."""
    felt = {HEALTHY: Felt(), "dead": Felt()}
    for scale in (1.0, 5.0, 2.0):
        _note(felt["dead"], report(0.002 * scale, [0.1]), Counter())
        _note(felt[HEALTHY], report(0.001 * scale, [0.1]), Counter())
        felt["dead"].p99_beside_ms.append(1.0 * scale)
    ratios = _report(felt)["faults"]["dead"]["p99_ratio_runs"]
    assert ratios == pytest.approx([2.0, 2.0, 2.0], rel=0.03)


@pytest.mark.parametrize(("latest_ms", "late_ms"), [(390, 0.0), (400, 0.0), (430, 30.0)])
def test_lateness_is_what_is_beyond_the_deadline(latest_ms, late_ms):
    """Only the slowest unsure answer counts, and only by what is too much."""
    felt = Felt()
    _note(felt, report(0.9, [0.1, latest_ms / 1000]), Counter())
    assert felt.late_ms == [pytest.approx(late_ms, abs=0.1)]
    assert DEADLINE_MS == 400


@pytest.mark.parametrize(("counted", "unnamed"), [(1002, 0), (1001, 1), (1003, 1)])
def test_an_answer_that_no_metric_counts_is_noticed(counted, unnamed):
    """Requests by reason add up to the answers that came, refusals included."""
    felt = Felt()
    grown = Counter({("requests", "student/confident"): counted, ("attempts", "ok"): 5})
    _note(felt, report(0.1, [0.1] * 2, failure="http_503"), grown)
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
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
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
