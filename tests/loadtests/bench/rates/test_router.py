"""`bench router` drives servers by the load harness, with each of the three clients."""

import os

import pytest

from loadtests.bench.driving import chat_spec, drive
from loadtests.bench.rates.clients import compare
from router.bench.process import python_subject

pytestmark = pytest.mark.e2e


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_the_router_is_measured_by_the_harness(tmp_path):
    """Every client is answered by router and bare server; processor and cores are of the window."""
    with (
        python_subject("router.bench.servers.target", 0) as router,
        python_subject("router.bench.servers.bare", 0) as bare,
    ):
        spec = chat_spec(tmp_path)
        report = compare({"router": router, "bare": bare}, spec, 1, 8, 2.0)
        driven = drive([router], spec, rate=20.0, duration_s=0.6, arrivals="constant")
    assert report["failed"] == 0
    assert set(report["clients"]) == {"whole", "apart", "fresh"}
    for one in report["clients"].values():
        assert min(one["rps"].values()) > 0
        assert one["failed"] == {"router": 0, "bare": 0}
        assert 0 < one["core_busy"]["router"] < 1.5
        assert one["client_busy"]["router"] > 0
    assert driven.report.sent == driven.report.succeeded == 12
    assert driven.report.routes == {"student": 12}
    assert driven.answers_ms.n == 12
    assert sum(driven.used_s.values()) == pytest.approx(sum(driven.by_server_s))
