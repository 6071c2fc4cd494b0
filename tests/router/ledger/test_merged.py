"""Ledgers of several hosts, read as one."""

import json
from decimal import Decimal

import psycopg
import pytest
from click.testing import CliRunner

from costmodel.inputs.ledger.traffic import read_traffic
from costmodel.plan.forecast import read_actual
from router.commands.ledger import ledger
from router.errors import BadDatabase, BadLedger
from router.ledger.merged import totals_of
from router.ledger.shipping import days, postgres
from router.ledger.shipping.spool import Spool
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import sample_entry

HOUR = 3_600.0
START = 1_700_000_000.0 // 86_400 * 86_400 + 10 * HOUR


def _entries(first, n=400):
    """Requests of three hours: every tenth escalates, one in ten is audited, some lack a price."""
    for i in range(first, first + n):
        changes = {"at": START + i * 13.0, "request_id": f"r{i}", "task": "urgent"}
        if i % 10 == 0:
            changes |= {
                "route": Route.TEACHER, "reason": Reason.LOW_CONFIDENCE, "attempts": 1 + i % 3,
                "input_tokens": 50 + i, "output_tokens": 2, "cached_input_tokens": 10,
                "teacher_usd": None if i % 50 == 0 else Decimal("0.000123"),
            }  # fmt: skip
        elif i % 10 == 1:
            changes |= {"audited": True, "attempts": 1, "input_tokens": 40, "output_tokens": 1,
                        "teacher_usd": Decimal("0.0001")}  # fmt: skip
        elif i % 97 == 0:
            changes |= {"reason": Reason.PASSTHROUGH, "task": "other"}
        yield sample_entry(**changes)


@pytest.fixture
def both(tmp_path, database):
    """The same rows in one file, and from two files in the database."""
    paths = {}
    for name, entries in {
        "all": [*_entries(0), *_entries(400)],
        "one": _entries(0),
        "two": _entries(400),
    }.items():
        file = SqliteLedger(tmp_path / f"{name}.sqlite")
        for entry in entries:
            file.append(entry)
        file.close()
        paths[name] = file.path
    with psycopg.connect(database, autocommit=True) as connection:
        for name in ("one", "two"):
            with Spool(paths[name]) as spool:
                instance = postgres.instance_of(connection, spool)
                while postgres.ship(connection, spool, instance):
                    pass
    return str(paths["all"]), database


@pytest.mark.parametrize("since", [0.0, START + HOUR, START + HOUR + 61.5, START + 10 * HOUR])
def test_two_hosts_add_up_to_what_one_file_would_say(both, since):
    """Sums, unpriced and dollars agree to the pico-dollar, from any moment on."""
    file, url = both
    assert totals_of(url, since) == totals_of(file, since)


def test_a_projection_reads_the_same_traffic(both):
    """Rates, calls, tokens, peak, lengths and what was paid are those of the file, for the task."""
    file, url = both
    for task in (None, "urgent"):
        one, other = read_traffic(file, task), read_traffic(url, task)
        assert one.seconds == pytest.approx(other.seconds)
        for name in type(one).__dataclass_fields__.keys() - {"seconds", "input_quantiles"}:
            assert getattr(one, name) == getattr(other, name), name
        assert one.input_quantiles == pytest.approx(other.input_quantiles)
        assert read_actual(file, task) == read_actual(url, task)


def test_a_retired_day_is_told_by_the_hour(both):
    """After its rows are gone a day adds up to the same; a part of an hour cannot be told."""
    file, url = both
    with psycopg.connect(url, autocommit=True) as connection:
        for day in days.old_days(connection, 1):
            assert days.retire(connection, day)
    assert totals_of(url, START + HOUR) == totals_of(file, START + HOUR)
    with pytest.raises(BadLedger, match="give a full hour"):
        totals_of(url, START + HOUR + 61.5)


def test_the_command_reads_either_and_the_variable(both):
    """A file, an address, or the variable: one table."""
    file, url = both
    outputs = [
        CliRunner(env=env).invoke(ledger, [*arguments, "--json"])
        for env, arguments in (
            ({}, [file]),
            ({}, [url]),
            ({"RAISEHAND_DATABASE_URL": url}, []),
        )
    ]
    assert [json.loads(result.output)["all"]["requests"] for result in outputs] == [800] * 3
    assert len({result.output for result in outputs}) <= 2  # the order of routes may differ


def test_what_is_no_database_is_one_sentence(empty_database):
    """Without tables the command to run is named; the password never."""
    with pytest.raises(BadDatabase, match="raisehand database migrate") as caught:
        totals_of(empty_database)
    assert "secret" not in str(caught.value)
