"""Metrics: complete, named by the rules, and readable by Prometheus's own parser."""

import re
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from router.policy import Reason, Route
from router.teacher.bill import Outcome
from router.telemetry.counters import FORMER_NAMES
from router.telemetry.metrics import Metrics, Reading
from router.testing import sample_entry


@pytest.fixture
def metrics():
    """Metrics in a registry of their own."""
    return Metrics(CollectorRegistry())


def _read(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_a_request_is_counted_by_route_and_reason(metrics):
    """One entry moves exactly one counter child and one histogram child."""
    metrics.observe(sample_entry(latency_ms=2.6))
    metrics.observe(
        sample_entry(route=Route.DEGRADED, reason=Reason.TEACHER_TIMEOUT, latency_ms=900.0)
    )
    labels = {"task": "urgent", "route": "student", "reason": "confident"}
    assert _read(metrics, "raisehand_requests_total", **labels) == 1
    labels = {"task": "urgent", "route": "degraded", "reason": "teacher_timeout"}
    assert _read(metrics, "raisehand_requests_total", **labels) == 1
    assert (
        _read(metrics, "raisehand_request_duration_seconds_bucket", route="student", le="0.002")
        == 0
    )
    assert (
        _read(metrics, "raisehand_request_duration_seconds_bucket", route="student", le="0.003")
        == 1
    )
    assert _read(
        metrics, "raisehand_request_duration_seconds_sum", route="degraded"
    ) == pytest.approx(0.9)


def test_money_is_counted_by_payer_and_unpriced_apart(metrics):
    """Dollars of student and teacher add up apart; an unknown price adds to neither."""
    metrics.observe(sample_entry())
    metrics.observe(
        sample_entry(route=Route.TEACHER, teacher_usd=Decimal("0.002"), attempts=1, input_tokens=40,
               output_tokens=2)
    )  # fmt: skip
    metrics.observe(sample_entry(route=Route.TEACHER, teacher_usd=None, attempts=1))
    assert _read(
        metrics, "raisehand_cost_usd_total", task="urgent", payer="student"
    ) == pytest.approx(3 * 12.403e-9)
    assert _read(
        metrics, "raisehand_cost_usd_total", task="urgent", payer="teacher"
    ) == pytest.approx(0.002)
    assert _read(metrics, "raisehand_unpriced_requests_total", task="urgent") == 1
    assert _read(metrics, "raisehand_teacher_tokens_total", task="urgent", kind="input") == 40
    assert _read(metrics, "raisehand_teacher_tokens_total", task="urgent", kind="output") == 2


def test_every_outcome_of_an_attempt_has_a_child_from_the_start(metrics):
    """A rate over an outcome that has not happened yet is 0, not missing."""
    metrics.attempts_of("urgent")(Outcome.TIMEOUT, 1.5)
    for outcome in Outcome:
        expected = 1.0 if outcome is Outcome.TIMEOUT else 0.0
        assert (
            _read(metrics, "raisehand_teacher_attempts_total", task="urgent", outcome=outcome)
            == expected
        )
    assert _read(metrics, "raisehand_teacher_attempt_duration_seconds_count", task="urgent") == 1


def test_readings_are_taken_at_scrape(metrics):
    """A gauge shows the value of the moment of the scrape."""
    depth = 1
    metrics.watch([Reading("raisehand_queue_depth", "Texts waiting.", lambda: depth)])
    depth = 7
    assert _read(metrics, "raisehand_queue_depth") == 7


def test_a_reading_may_have_labels(metrics):
    """One series for each task, as they are at the moment of the scrape."""
    depth = {("a",): 1, ("b",): 2}
    metrics.watch([Reading("raisehand_x", "X.", lambda: depth, labels=("task",))])
    assert _read(metrics, "raisehand_x", task="b") == 2


def test_answers_are_counted_by_status(metrics):
    """Whoever gave them."""
    for status in (200, 200, 429):
        metrics.status(status)
    assert _read(metrics, "raisehand_http_responses_total", status="200") == 2
    assert _read(metrics, "raisehand_http_responses_total", status="429") == 1


def test_two_instances_do_not_share_anything():
    """Registries are injected: two routers in one process count apart."""
    one, two = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.observe(sample_entry())
    labels = {"task": "urgent", "route": "student", "reason": "confident"}
    assert _read(two, "raisehand_requests_total", **labels) is None


def test_exposition_parses_and_keeps_the_naming_rules(metrics):
    """The client's own parser reads every family; names, units, suffixes and help are right."""
    metrics.observe(sample_entry())
    metrics.attempts_of("urgent")(Outcome.OK, 0.1)
    metrics.watch(
        [
            Reading("raisehand_queue_depth", "Texts waiting for the student.", lambda: 3),
            Reading("raisehand_ledger_dropped_total", "Entries lost.", lambda: 0, counter=True),
        ]
    )
    exposition = generate_latest(metrics.registry).decode()
    families = {f.name: f for f in text_string_to_metric_families(exposition)}
    assert {
        "raisehand_requests",
        "raisehand_request_duration_seconds",
        "raisehand_cost_usd",
    } <= set(families)
    for family in families.values():
        assert family.type in {"counter", "gauge", "histogram"}
        assert re.fullmatch(r"raisehand_[a-z][a-z0-9_]*", family.name)
        assert not re.search(r"(milli|micro|_ms\b|_count$|_sum$|_bucket$)", family.name)
        assert family.documentation.endswith(".")
        assert family.type != "histogram" or family.name.endswith("_seconds")
    assert "_created" not in exposition
    for line in exposition.splitlines():
        if line.startswith("# TYPE") and line.endswith("counter"):
            assert re.search(r"_total counter$", line)


def test_a_duration_has_its_former_name_for_one_release(metrics):
    """The same numbers under both, so that no board goes blank by an update."""
    metrics.observe(sample_entry())
    metrics.attempts_of("urgent")(Outcome.OK, 0.1)
    for now, before in FORMER_NAMES.items():
        text = generate_latest(metrics.registry).decode()
        new, old = (
            [line for line in text.splitlines() if re.match(rf"{name}(_bucket|_sum|_count)", line)]
            for name in (now, before)
        )
        assert new
        assert old == [line.replace(now, before) for line in new]
