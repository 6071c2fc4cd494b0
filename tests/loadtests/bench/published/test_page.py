"""The page of the published figures says what was measured, the doubts among it."""

import re

import pytest

from loadtests.bench.published.page import page_of_published


def _client(rps):
    return {
        "rps": {"router": rps, "bare": 2 * rps, "peer": rps / 1.5},
        "cpu_us": {"router": 41.5, "bare": 20.0, "peer": 70.0},
        "core_busy": {"router": 0.98, "bare": 0.9, "peer": 1.0},
        "client_busy": {"router": 0.71, "bare": 1.0, "peer": 0.5},
        "failed": {"router": 0, "bare": 0, "peer": 0},
        "ratio": {"bare": 0.5, "peer": 1.5},
    }


@pytest.fixture
def found():
    """What the command gathers."""
    at = {
        "rate": 9_800, "p50_ms": 0.3, "p99_ms": 3.25, "p99_ms_runs": [3.25, 2.9, None],
        "bare_p99_ms": 1.5, "bare_p99_ms_runs": [1.5], "p99_of_bare": 2.17, "doubts": [],
    }  # fmt: skip
    row = {
        "offered": 2.0, "offered_rps": 28_000, "sent_rps": 27_500, "goodput_of_knee": 0.97,
        "p99_ms": 24.0, "refused_429": 4_321, "p99_ms_right_after": 1.75,
    }  # fmt: skip
    return {
        "date": "2026-11-29",
        "load_average_before": 0.07,
        "harness": {
            "rps_per_core": 21_345.0, "claim_limit_rps": 14_941.5, "runs_that_held": "3 of 3",
            "send_lag_p99_ms": [1.2, 1.4, 4.9], "cpu_us": 31.9, "event_us": 7.2,
            "versions": {"machine": "a machine", "python": "3.11.7", "commit": "abc1234"},
        },
        "router": {
            "rps": 19_876.0, "cpu_us_per_request": 41.5, "knee_rps": 14_000, "connections": 64,
            "knee": {"ended_by": "generator", "confirmed": 3},
            "clients": {"whole": _client(19_876.0), "apart": _client(17e3), "fresh": _client(5e3)},
            "at_70_of_knee": at, "at_70_of_closed_loop": at | {"doubts": ["the generator's own"]},
            "overload": [row],
        },
        "soak": {
            "passed": True, "minutes": 3, "rate": 9_800, "requests": 1_764_000, "refused": 7,
            "failed": 0, "resident_mb_per_hour": 0.1, "resident_mb_per_hour_95": [-0.2, 0.4],
            "descriptors": [17, 17], "p99_ms": [3.1, 3.2], "doubts": [],
        },
    }  # fmt: skip


def test_every_figure_stands_on_the_page(found):
    """Rates, who was the slower, the knee with its end, the bare server beside each p99, doubts."""
    page = page_of_published(found)
    for said in (
        "21,345", "1.20, 1.40, 4.90", "31.9", "7.2", "14,942", "19,876",
        "router 98%, generator 71%",
        "14,000", "ended by: generator", "3.25 (3.25, 2.90, –)", "1.50 (1.50)", "2.17",
        "the generator's own", "2 × knee", "4,321", "97%", "1,764,000", "-0.2 to 0.4", "abc1234",
        "0.07",
    ):  # fmt: skip
        assert said in page, said
    columns = {line.count("|") for line in page.splitlines() if line.startswith("| head")}
    assert columns == {8}
    assert not re.search(r"\bNone\b|\bnan\b", page)


def test_what_was_not_measured_is_left_out(found):
    """No soak, no overload, no knee: no heading, and a dash."""
    del found["soak"], found["router"]["overload"], found["router"]["at_70_of_knee"]
    found["router"]["knee_rps"] = None
    page = page_of_published(found)
    assert "Soak" not in page
    assert "Overload" not in page
    assert "**–** requests a second" in page


def test_the_generator_before_stands_beside(found):
    """Figures of another checkout's bench, in one table."""
    found["beside"] = found["router"] | {"rps": 19_000.0, "knee_rps": 13_500}
    page = page_of_published(found)
    assert "| knee | 14,000.0 | 13,500.0 |" in page
