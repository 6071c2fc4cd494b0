"""The server and the generator get cores of their own."""

import os

import pytest

from loadtests.servers.cores import Cores, divide, own_cores


@pytest.mark.parametrize(
    ("cores", "processes", "server", "generator"),
    [
        ({0, 1}, 1, {0}, {1}),
        ({0, 1}, 4, {0}, {1}),
        ({2, 3, 5, 7}, 1, {2, 3, 5}, {7}),
        (set(range(16)), 4, set(range(12)), {12, 13, 14, 15}),
    ],
)
def test_one_core_a_process_and_half_at_most(cores, processes, server, generator):
    """The last cores are the generator's; the server keeps at least half."""
    assert divide(Cores(cores), processes) == (server, generator)


def test_one_core_is_shared():
    """There is nothing to divide."""
    assert divide(Cores({0}), 1) is None


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux pins")
def test_cores_are_given_back():
    """Inside, this process has the generator's cores and no other; afterwards all it had."""
    before = os.sched_getaffinity(0)
    with own_cores(1) as servers:
        inside = os.sched_getaffinity(0)
        assert servers is None or (servers | inside == before and not servers & inside)
    assert os.sched_getaffinity(0) == before
