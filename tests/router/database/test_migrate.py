"""Tables come and change by steps that ship with the package."""

import subprocess
import sys

import psycopg
import pytest

from router.database.connection import reading
from router.database.migrate import is_behind, migrate, newest, version_of
from router.errors import BadDatabase
from tests.waiting import PATIENCE_S


def test_an_empty_database_gets_its_tables_once(empty_database):
    """The first run makes the tables, a second one finds them; both say which version there is."""
    assert migrate(empty_database) == (None, newest())
    assert migrate(empty_database) == (newest(), newest())
    with psycopg.connect(empty_database) as connection:
        assert version_of(connection) == newest()


def test_several_may_migrate_at_once(empty_database):
    """Hosts that start together wait for each other: none fails and nothing is made twice."""
    code = "from router.cli import run; run()"
    command = [sys.executable, "-c", code, "database", "migrate", empty_database]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in "12"]
    said = [process.communicate(timeout=PATIENCE_S)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert all(newest() in words and "secret" not in words for words in said)


def test_tables_of_a_newer_version_are_not_behind():
    """A router of yesterday beside migrated tables goes on; one beside none, or older, waits."""
    assert is_behind(None)
    assert not is_behind(newest())
    assert not is_behind("from_the_future_0001")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://somewhere/x", "postgresql://user:password@host:5432/name"),
        ("postgresql://u:p%zz@h/x", "write special characters of the password as %XX"),
        ("postgresql://u:secret@127.0.0.1:9/x", "127.0.0.1:9/x cannot be used"),
    ],
)
def test_an_address_that_is_wrong_is_one_sentence_without_the_password(url, said):
    """What is wrong with an address is said, and its password never."""
    with pytest.raises(BadDatabase) as caught, reading(url, "test"):
        pass
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "p%zz" not in str(caught.value)


def test_a_database_without_tables_says_what_to_run(empty_database):
    """Who reads before anybody migrated is told the command."""
    with (
        pytest.raises(BadDatabase, match="raisehand database migrate"),
        reading(empty_database, "test") as connection,
    ):
        connection.execute("select * from raisehand.shipped")
