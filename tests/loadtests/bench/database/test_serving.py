"""What the turns of a worker with PostgreSQL say beside those of one with SQLite alone."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner

from costmodel.companion import Companion
from loadtests.bench.database.command import database
from loadtests.bench.database.serving import (
    SHIPPER,
    ArmTurns,
    LedgerArm,
    _note,
    _told,
    serving_words,
)
from loadtests.bench.driving import Driven
from loadtests.figures.load_report import report_of
from loadtests.generator.tallies import RequestOutcome, Tally
from loadtests.inputs.spec import LoadSpec
from router.bench.process import Subject

ALONE = ArmTurns([1000.0, 2000.0], [50.0, 40.0], [0.0] * 2, [0.0] * 2, [0.9] * 2, [0.8] * 2)


def told(name):
    """A worker whose requests cost a quarter more and that answers a fifth less."""
    slower = ArmTurns([800.0, 1600.0], [62.5, 50.0], [3.0, 2.0], [6.0, 5.0], [0.7] * 2, [1.0] * 2)
    return _told({"sqlite": ALONE, "postgres": slower, "one_core": slower}, name)


@pytest.mark.parametrize("name", ["rps", "worker_us"])
def test_throughput_is_by_answers_or_by_what_an_answer_takes(name):
    """A quarter more processor time a request is a fifth less throughput, turn by turn."""
    assert told(name)["postgres"]["throughput"] == {"ratio": 0.8, "low": 0.8, "high": 0.8}
    assert "throughput" not in told(name)["sqlite"]


def test_shipping_on_the_workers_core_is_its_time_too():
    """65.5 and 52 µs beside 50 and 40."""
    assert told("worker_us")["postgres"]["throughput_one_core"]["ratio"] == pytest.approx(
        0.766, abs=1e-3
    )


def test_the_words_say_where_everything_ran_and_who_was_the_limit():
    """A closed loop in which the generator was full is not taken for the worker's limit."""
    dead = {"rate": 7, "p99_ms": {"sqlite": [2.0], "postgres": [2.2]}}
    dead["p99"] = {"ratio": 1.1, "low": 1.0, "high": 1.2}
    report = {
        "cores": {"worker": 4, "shipper, PostgreSQL, load": 5},
        "closed_loop": told("rps"),
        "together": {"rate": 9} | told("worker_us"),
        "dead": dead,
    }
    words = "\n".join(serving_words(report))
    assert "One worker on core 4" in words
    assert "on core 5" in words
    assert "worker 90% and 70% busy, generator 80% and 100%" in words
    assert "costs the process that ships 2 µs and PostgreSQL 5 at least" in words


def test_what_ships_is_not_of_the_workers_time(tmp_path):
    """What ships is another's cost; rows of the warm-up are its rows, too."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x", rate=10, duration_s=2.0)
    tally = Tally(1.0)
    for i in range(20):
        tally.arrive(0.5)
        tally.record(RequestOutcome(0.5, i, 0.0, 0.01, 200, None, "student"), spec)
    tally.unmeasured_sent = 5
    used = {"MainThread": 0.001, "ledger": 0.0002, "shipper": 0.5}
    turns = ArmTurns()
    _note(turns, Driven(report_of(spec, tally), used, [0.5012]), 0.0025, 0.005)
    assert turns.worker_us == [pytest.approx(60.0)]
    assert turns.worker_busy == [pytest.approx(0.0006)]
    assert turns.shipper_us == [pytest.approx(100.0)]
    assert turns.database_us == [pytest.approx(200.0)]


def test_the_process_that_ships_is_put_where_its_arm_has_it():
    """It ships beside its worker, or on its core; a router without a database has none."""
    cores = sorted(os.sched_getaffinity(0))
    companion = Companion(SHIPPER, partial(partial, str), 0)
    try:
        assert companion.ask(7) == "7"
        arm = LedgerArm(Subject(os.getpid(), 2, {}))
        for core in (cores[0], cores[-1]):
            replace(arm, shipper_core=core).place()
            assert os.sched_getaffinity(companion.process_id) == {core}
        arm.place()
        assert arm.subject.companions()[SHIPPER] == companion.process_id
        assert arm.subject.cpu_seconds()[SHIPPER] > 0
    finally:
        companion.close()
    assert SHIPPER not in arm.subject.companions()


@pytest.mark.e2e
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_a_worker_is_measured_with_postgresql_alive_and_dead(make_postgres):
    """Turns of all arms: rows are shipped, none fails, and what each part costs is told."""
    cores = sorted(os.sched_getaffinity(0))
    arguments = ["--rows", "20000", "--runs", "1", "--seconds", "5", "--json"]
    arguments += ["--core", str(cores[0]), "--client-core", str(cores[1])]
    try:
        found = CliRunner().invoke(database, arguments, catch_exceptions=False)
    finally:
        os.sched_setaffinity(0, cores)
    report = json.loads(found.output)
    serving = report["serving"]
    assert serving["cores"]["worker"] == cores[0]
    for part, arms in (("closed_loop", ("postgres", "one_core")), ("together", ("postgres",))):
        for arm in arms:
            assert serving[part][arm]["shipper_us"]["least"] > 0
            assert serving[part][arm]["database_us"]["least"] > 0
    assert serving["dead"]["p99"]["ratio"] > 0
    assert report["reading"]["bytes_a_row"] > 100
