"""`raisehand database`."""

import psycopg
import pytest
from click.testing import CliRunner

from router.commands.database import database as command
from router.database.migrate import newest
from router.errors import BadDatabase
from router.ledger.shipping.postgres import instance_of, ship
from router.ledger.shipping.spool import Spool
from router.ledger.sqlite import SqliteLedger
from router.testing import sample_entry


def _run(url, *arguments):
    return CliRunner(env={"RAISEHAND_DATABASE_URL": url}).invoke(command, arguments)


def test_tables_are_made_and_checked_by_the_variable(empty_database):
    """Check says what is missing and what to run; migrate makes it; check is content."""
    before = _run(empty_database, "check")
    assert isinstance(before.exception, BadDatabase)
    assert "raisehand database migrate" in str(before.exception)
    assert newest() in _run(empty_database, "migrate").output
    assert "as this version needs." in _run(empty_database, "check").output
    assert "has this version already" in _run(empty_database, "migrate").output


def test_the_books_are_audited(database, tmp_path):
    """Rows against sums, day by day: a row that somebody deleted is found."""
    file = SqliteLedger(tmp_path / "ledger.sqlite")
    for day in range(3):
        file.append(sample_entry(at=1_700_000_000 + day * 86_400))
    file.close()
    with psycopg.connect(database, autocommit=True) as connection, Spool(file.path) as spool:
        ship(connection, spool, instance_of(connection, spool))
        assert "rows and sums of every day agree" in _run(database, "check", "--books").output
        connection.execute("delete from raisehand.decisions where at < '2023-11-15 12:00+00'")
    found = _run(database, "check", "--books").exception
    assert isinstance(found, BadDatabase)
    assert "2023-11-14 differ" in str(found)


def test_without_an_address_it_asks_for_one():
    """Neither a variable nor an argument: a usage error."""
    result = CliRunner(env={"RAISEHAND_DATABASE_URL": None}).invoke(command, ["check"])
    assert result.exit_code == 2
    assert "RAISEHAND_DATABASE_URL" in result.output


@pytest.mark.parametrize("words", [["migrate"], ["check"]])
def test_a_database_that_is_away_is_one_sentence(words, free_port_of):
    """The address without its password, and what to see to."""
    url = f"postgresql://u:secret@127.0.0.1:{free_port_of()}/x"
    found = _run(url, *words).exception
    assert isinstance(found, BadDatabase)
    assert "cannot be used" in str(found)
    assert "secret" not in str(found)
