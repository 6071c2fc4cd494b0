"""A projection from real traffic: what the router's ledger says replaces what was assumed."""

from decimal import Decimal

import pytest

from costmodel.errors import BadProjection
from costmodel.inputs.ledger.traffic import observed, read_traffic
from costmodel.inputs.taskfile import read_deployment
from costmodel.whatif import project_deployment
from router.ledger.entry import Entry
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route


def _entry(k: int, at: float, **changes) -> Entry:
    fields = {
        "at": at, "request_id": str(k), "task": "urgent", "bundle": "abc123",
        "surface": "classify", "route": Route.STUDENT, "reason": Reason.CONFIDENT,
        "label": "urgent", "confidence": 0.9, "student_usd": Decimal("0.00000001"),
        "teacher_usd": Decimal(0), "input_tokens": 0, "output_tokens": 0, "attempts": 0,
        "latency_ms": 1.0, "degraded": False, "audited": False, "propensity": 0.01,
        "text_sha256": "",
    }  # fmt: skip
    return Entry(**{**fields, **changes})


def _ledger(path, seconds: float, n: int = 1_000):
    """One request in ten escalates (one in fifty twice), one kept in nine is audited."""
    ledger = SqliteLedger(path)
    for k in range(n):
        at = 1_700_000_000 + seconds * k / (n - 1)
        if k % 10 == 0:
            tries = 2 if k % 50 == 0 else 1
            ledger.append(
                _entry(
                    k,
                    at,
                    route=Route.TEACHER,
                    reason=Reason.LOW_CONFIDENCE,
                    attempts=tries,
                    input_tokens=120 * tries,
                    output_tokens=2 * tries,
                )
            )
        elif k % 10 == 1:
            ledger.append(_entry(k, at, audited=True, attempts=1, input_tokens=40, output_tokens=2))
        else:
            ledger.append(_entry(k, at))
    ledger.append(
        _entry(
            n,
            1_700_000_000 + seconds,
            route=Route.TEACHER,
            reason=Reason.PASSTHROUGH,
            attempts=1,
            input_tokens=9_999_999,
        )
    )
    ledger.append(_entry(n + 1, 1_700_000_000 + seconds, reason=Reason.STUDENT_ONLY))
    ledger.append(_entry(n + 2, 1_700_000_000 + seconds, surface="batch", route=Route.TEACHER))
    assert ledger.flush()
    ledger.close()
    return path


def test_traffic_escalation_tokens_and_retries_come_from_the_ledger(tmp_path, task_file):
    """Rates and token means are those of requests; what passed through and tables are left out."""
    log = read_traffic(_ledger(tmp_path / "ledger.db", seconds=7_200.0))
    got = observed(read_deployment(task_file), log)
    assert got.traffic.requests_per_day == pytest.approx(12_000)
    assert (got.evaluation.n, got.evaluation.escalated) == (1_000, 100)
    # The bundle's kept answers disagree in 68 of 2,367 rows; 900 were kept here.
    assert got.evaluation.disagreements == round(900 * 68 / 2_367)
    assert got.audit_rate == pytest.approx(100 / 900)
    assert got.operation.attempts == pytest.approx(1.2)
    assert got.usage.input_tokens == pytest.approx(0.1 * 120 + 0.9 * 40)
    assert got.usage.escalated_factor == pytest.approx(120 / 48)
    assert got.fleet.peak_to_mean == 3.3
    assert project_deployment(got).escalation.mid == pytest.approx(0.1)


def test_a_day_of_traffic_gives_its_peak(tmp_path, task_file):
    """From 24 hours on, the busiest hour replaces the assumed peak."""
    log = read_traffic(_ledger(tmp_path / "ledger.db", seconds=86_400.0))
    got = observed(read_deployment(task_file), log)
    assert got.fleet.peak_to_mean == pytest.approx(1.0, abs=0.05)


def test_too_little_traffic_is_refused(tmp_path):
    """A minute of traffic is a rate, 59 seconds are not."""
    assert read_traffic(_ledger(tmp_path / "a.db", seconds=60.0)).requests == 1_000
    with pytest.raises(BadProjection, match="over 59 s"):
        read_traffic(_ledger(tmp_path / "b.db", seconds=59.0))


@pytest.mark.parametrize("content", [None, b"", b"not a database, but long enough to be read" * 9])
def test_what_is_no_ledger_is_one_sentence(tmp_path, content):
    """A missing, empty or foreign file is named."""
    path = tmp_path / "ledger.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadProjection, match="ledger"):
        read_traffic(path)


def test_what_the_supplier_cached_is_not_paid_again(tmp_path, task_file):
    """Cached input tokens of the ledger come at the cached price: 80 of 100 are cheaper."""
    usage = {}
    for cached in (0, 80):
        ledger = SqliteLedger(tmp_path / f"{cached}.db")
        for k in range(200):
            told = {
                "route": Route.TEACHER,
                "reason": Reason.LOW_CONFIDENCE,
                "attempts": 1,
                "input_tokens": 100,
                "output_tokens": 2,
                "cached_input_tokens": cached,
            }
            ledger.append(_entry(k, 1_700_000_000 + 50 * k, **(told if k % 2 else {})))
        assert ledger.flush()
        ledger.close()
        got = observed(read_deployment(task_file), read_traffic(tmp_path / f"{cached}.db"))
        usage[cached] = got.usage
    assert usage[0].cached_input_tokens == 0
    assert usage[80].cached_input_tokens / usage[80].input_tokens == pytest.approx(0.8)


def test_an_answer_that_nobody_was_asked_for_is_no_escalation(tmp_path, task_file):
    """Over budget the student answers and nobody is paid: no call, no escalation on the bill."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    asked = {"route": Route.TEACHER, "reason": Reason.LOW_CONFIDENCE, "attempts": 1,
             "input_tokens": 100, "output_tokens": 2}  # fmt: skip
    over = {"route": Route.DEGRADED, "reason": Reason.ESCALATION_BUDGET, "degraded": True}
    for k in range(300):
        told = (asked, over, {})[k % 3]
        ledger.append(_entry(k, 1_700_000_000 + 50 * k, **told))
    assert ledger.flush()
    ledger.close()
    log = read_traffic(tmp_path / "ledger.db")
    assert (log.escalated, log.unasked, log.escalated_calls) == (100, 100, 100)
    got = observed(read_deployment(task_file), log)
    assert got.evaluation.escalated == 100
    assert got.operation.attempts == 1


def test_lengths_of_a_ledger_reach_the_tiers(tmp_path, task_file):
    """The quantiles of the calls' input tokens are kept, so that tiers see the tail."""
    log = read_traffic(_ledger(tmp_path / "ledger.db", seconds=7_200.0))
    got = observed(read_deployment(task_file), log)
    assert (min(got.usage.input_quantiles), max(got.usage.input_quantiles)) == (40, 120)
