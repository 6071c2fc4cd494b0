"""Closed forms against values derived elsewhere and against each other."""

import pytest

from costmodel.errors import Unstable
from costmodel.queueing import closed_forms as analytic
from costmodel.queueing.closed_forms import BurkeCascade, MMc


@pytest.mark.parametrize(
    ("servers", "load", "expected"),
    [
        (3, 2, 4 / 9),
        (4, 3.2, 0.596432),
        (6, 2.5, 0.047445),
        (10, 9, 0.668732),
        (20, 16, 0.256078),
        (100, 90, 0.216940),
    ],
)
def test_erlang_c_has_its_known_values(servers, load, expected):
    """Erlang C equals published values to six figures."""
    assert analytic.erlang_c(servers, load) == pytest.approx(expected, abs=5e-7)


def test_support_desk_needs_six_agents():
    """30 calls an hour of 5 minutes, 90 % served at once: 5 agents wait too often, 6 suffice."""
    assert analytic.erlang_c(5, 2.5) == pytest.approx(0.13037, abs=5e-6)
    assert analytic.servers_needed(30 / 3600, 1 / 300, 0, 0.9) == 6


def test_wait_quantile_inverts_the_tail():
    """At the p99 wait exactly 1 % still wait; below the waiting share the quantile is 0."""
    queue = MMc(3.2, 1, 4)
    assert queue.wait_quantile(0.99) == pytest.approx(5.1105, abs=5e-5)
    assert queue.wait_beyond(queue.wait_quantile(0.99)) == pytest.approx(0.01)
    assert queue.wait_quantile(0.40) == 0
    assert queue.wait_quantile(0.41) > 0


def test_sojourn_tail_integrates_to_the_mean():
    """The area under P(sojourn > t) is the mean sojourn, also where the two rates coincide."""
    for queue in (MMc(3.2, 1, 4), MMc(0.8, 1, 1), MMc(3.0, 1, 4)):
        area = sum(queue.sojourn_beyond((k + 0.5) * 0.01) * 0.01 for k in range(20_000))
        assert area == pytest.approx(queue.sojourn_s, rel=1e-4)


def test_pollaczek_khinchine():
    """M/D/1 at 80 % waits two services; exponential service gives M/M/1."""
    assert analytic.md1_wait(0.8, 1.0) == pytest.approx(2.0)
    assert analytic.mg1_wait(0.8, 1.0, 1.0) == pytest.approx(MMc(0.8, 1.0).wait_s)


def test_approximations_are_exact_where_they_must_be():
    """Kingman and Allen-Cunneen agree with M/M/1 and M/M/c at unit variation."""
    assert analytic.kingman_wait(0.8, 1, 1, 1) == pytest.approx(MMc(0.8, 1).wait_s)
    assert analytic.allen_cunneen_wait(3.2, 1, 4, 1, 1) == pytest.approx(MMc(3.2, 1, 4).wait_s)


@pytest.mark.parametrize(
    ("arrival", "service", "most", "expected"),
    [(3, 1, 4, 2.55250), (3.6, 1, 4, 6.30995), (20, 1, 32, 1.58886), (0.5, 1, 1, 1.0)],
)
def test_bulk_service(arrival, service, most, expected):
    """M/M(1,b)/1 has its known waits; b = 1 is M/M/1."""
    assert analytic.bulk_wait(arrival, service, most) == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize(
    ("arrival", "per_request", "fixed", "most", "sojourn", "batch"),
    [
        (2, 0.1, 0.5, None, 0.98976, 1.5897),
        (5, 0.1, 0.5, None, 1.66502, 5.0248),
        (8, 0.1, 0.5, None, 4.13889, 20.000),
        (9, 0.02, 0.5, 8, 0.97510, 5.4927),
        (10, 0.02, 0.5, 8, 1.05555, 6.2521),
        (40, 0.0, 0.02, 1, 0.06, 1.0),
    ],
)
def test_batch_chain(arrival, per_request, fixed, most, sojourn, batch):
    """The deterministic batch chain has its known values; a cap of 1 is M/D/1."""
    queue = analytic.batch_queue(arrival, lambda n: per_request * n + fixed, most)
    assert queue.sojourn_s == pytest.approx(sojourn, abs=1e-5)
    assert queue.mean_batch == pytest.approx(batch, abs=1e-3)


def test_inoue_bounds_the_batch_chain_from_above():
    """The bound is never below the exact mean and close to it under load."""
    for arrival, slack in ((2, 0.07), (5, 0.002), (8, 1e-5)):
        exact = analytic.batch_queue(arrival, lambda n: 0.1 * n + 0.5).sojourn_s
        bound = analytic.inoue_bound(arrival, 0.1, 0.5)
        assert exact - 1e-6 <= bound <= exact * (1 + slack)


def test_cascade_adds_the_teacher_for_the_share_that_escalates():
    """W = W1 + p W2 with Poisson p lambda at the teacher."""
    cascade = BurkeCascade.of(100, (30, 5), 0.1, (1, 14))
    assert cascade.teacher == MMc(10, 1, 14)
    assert cascade.sojourn_s == pytest.approx(
        MMc(100, 30, 5).sojourn_s + 0.1 * MMc(10, 1, 14).sojourn_s
    )


@pytest.mark.parametrize("arrival", [4.0, 4.1])
def test_overload_is_named(arrival):
    """At and above capacity there is no long-run answer, and the error says so."""
    with pytest.raises(Unstable, match="grows for ever"):
        MMc(arrival, 1, 4)
    assert MMc(3.99, 1, 4).wait_s > 0


@pytest.mark.parametrize(
    ("servers", "arrivals", "patience_s", "expected"),
    [(3, 2.9, 0.5, 0.21578), (3, 4.5, 1.0, 0.35929), (1, 0.9, 2.0, 0.21876), (1, 1.0, 0.0, 0.5)],
)
def test_impatient_customers_of_many_servers(servers, arrivals, patience_s, expected):
    """Values computed elsewhere and simulated; without patience it is Erlang's loss."""
    lost = analytic.given_up(arrivals, 1.0, patience_s, servers)
    assert lost == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("arrivals", [1e-9, 64.0, 1e9])
def test_impatience_is_a_share_at_any_load(arrivals):
    """Nothing overflows, and far beyond capacity all but the capacity leaves."""
    lost = analytic.given_up(arrivals, 1.0, 0.05, 64)
    assert 0 <= lost <= 1
    assert lost == pytest.approx(max(1 - 64 / arrivals, 0), abs=0.12)
