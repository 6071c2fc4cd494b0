"""Several workers, one scrape: nothing added up, nothing lost, a dead one shown as down."""

from __future__ import annotations

from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from router.errors import BadSettings
from router.keys.ring import KeySpec
from router.telemetry.exposition import Exposition
from router.telemetry.metrics import Metrics
from router.testing import sample_entry
from router.worker_share import Share


def samples(text, name):
    """Values of a metric by its labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def test_alone_a_router_shows_its_own_metrics():
    """Without other workers nothing is labelled."""
    registry = CollectorRegistry()
    Counter("raisehand_x", "x", registry=registry).inc(3)
    text = (await Exposition(registry).read()).decode()
    assert samples(text, "raisehand_x_total") == {(): 3.0}


async def test_one_scrape_has_every_series_of_every_worker(tmp_path):
    """Counters and histograms of both workers stand side by side, told apart by `worker`."""
    expositions = []
    for index, n in enumerate((2, 5)):
        metrics = Metrics(CollectorRegistry())
        for _ in range(n):
            metrics.observe(sample_entry(latency_ms=1.5))
        expositions.append(Exposition(metrics.registry, Share(index, 2, tmp_path)))
        await expositions[-1].start()
    try:
        text = (await expositions[0].read()).decode()
        assert text == (await expositions[1].read()).decode()
    finally:
        for exposition in expositions:
            await exposition.stop()
    requests = samples(text, "raisehand_requests_total")
    assert sorted((dict(k)["worker"], v) for k, v in requests.items()) == [("0", 2.0), ("1", 5.0)]
    counts = samples(text, "raisehand_request_duration_seconds_count")
    assert sorted(counts.values()) == [2.0, 5.0]
    assert text.count("# TYPE raisehand_requests_total ") == 1
    assert samples(text, "raisehand_worker_up") == {(("worker", "0"),): 1, (("worker", "1"),): 1}


async def test_a_worker_that_does_not_answer_is_down(tmp_path):
    """The others are still shown, and the dead one as 0."""
    exposition = Exposition(CollectorRegistry(), Share(1, 2, tmp_path))
    text = (await exposition.read()).decode()
    assert samples(text, "raisehand_worker_up") == {(("worker", "0"),): 0, (("worker", "1"),): 1}


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_add_up_to_the_limits_of_the_task(make_task, tmp_path, count):
    """Teacher calls and calls a second of all workers are the task's; dollars are leased."""
    limits = {"max_concurrency": 8, "max_usd_per_hour": 12, "max_requests_per_second": 24}
    task = make_task(teacher=limits)
    parts = [Share(i, count, tmp_path).of_task(task).teacher for i in range(count)]
    assert sum(p.max_concurrency for p in parts) == 8
    assert {p.max_usd_per_hour for p in parts} == {12}
    assert sum(p.max_requests_per_second for p in parts) == pytest.approx(24)


def test_more_workers_than_teacher_calls_are_refused(make_task, tmp_path):
    """Eight calls cannot be shared by nine workers: said at the start."""
    task = make_task(teacher={"max_concurrency": 8})
    with pytest.raises(BadSettings, match="too few for 9 workers"):
        Share(0, 9, tmp_path).of_task(task)


def test_rates_of_keys_are_shared_and_no_limit_stays_none(tmp_path):
    """A key's rate is divided, its dollars are leased; what is not limited stays so."""
    key = KeySpec(name="a", sha256="0" * 64, requests_per_second=4, max_usd_per_day=Decimal(4))
    [part] = Share(0, 2, tmp_path).of_keys([key])
    assert (part.requests_per_second, part.max_usd_per_day) == (2, Decimal(4))
    assert part.teacher_calls_per_second is None
