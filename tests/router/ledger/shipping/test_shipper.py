"""From a ledger's file to PostgreSQL: every row once, whatever dies in between."""

import math
import random
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from router.database.connection import connect
from router.errors import BadDatabase, BadLedger
from router.ledger.entry import Entry
from router.ledger.read import read_totals
from router.ledger.rollup import fold
from router.ledger.shipping import days, postgres
from router.ledger.shipping.carrier import Carrier
from router.ledger.shipping.shipper import Shipper
from router.ledger.shipping.spool import BATCH_ROWS, Spool
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from tests.waiting import until

NOW = datetime.now(UTC).timestamp()


def entry(i=0, at=NOW, **changes):
    """A request that was kept, or asked of the teacher for a dollar and a bit."""
    values = {
        "at": at, "request_id": f"r{i}", "task": "urgent", "bundle": "b1", "surface": "classify",
        "route": Route.STUDENT, "reason": Reason.CONFIDENT, "label": "calm", "confidence": 0.3,
        "student_usd": Decimal("0.000000000123"), "teacher_usd": Decimal(0), "input_tokens": 0,
        "output_tokens": 0, "attempts": 0, "latency_ms": 1.5, "degraded": False, "audited": False,
        "propensity": 0.01, "text_sha256": "00", "student_label": "calm",
    }  # fmt: skip
    return Entry(**(values | changes))


def asked(i, at=NOW, **changes):
    """A request that the teacher answered."""
    return entry(
        i, at, route=Route.TEACHER, reason=Reason.LOW_CONFIDENCE, attempts=2, input_tokens=30,
        output_tokens=3, cached_input_tokens=10, teacher_usd=Decimal("1.000000000007"),
        model="big", teacher_label="urgent", **changes,
    )  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Write entries to the ledger's file, as a router does."""

    def write(entries, name="ledger.sqlite"):
        file = SqliteLedger(tmp_path / name, ships=True)
        for each in entries:
            file.append(each)
        file.close()
        return file.path

    return write


@pytest.fixture
def db(database):
    """A connection to a database with tables."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def ship_all(path, db):
    """Ship a file until the database has it all; return the rows of each batch."""
    with Spool(path) as spool:
        instance = postgres.instance_of(db, spool)
        return list(iter(lambda: postgres.ship(db, spool, instance), 0))


def count(db, what="count(*)"):
    """One figure over all decisions."""
    return db.execute(f"select {what} from raisehand.decisions").fetchone()[0]


def test_rows_arrive_once_and_whole(write, db):
    """Batches, a second run and a run that had forgotten its own place store each row once."""
    path = write([asked(i, NOW + i / 7) for i in range(BATCH_ROWS + 7)])
    assert ship_all(path, db) == [BATCH_ROWS, 7]
    assert ship_all(path, db) == []
    with Spool(path) as spool:
        spool.shipped(0)
        assert spool.unshipped().rows == BATCH_ROWS + 7
    assert ship_all(path, db) == []
    assert count(db) == count(db, 'count(distinct ("instance", "row"))') == BATCH_ROWS + 7
    assert count(db, "sum(teacher_pusd)") == (BATCH_ROWS + 7) * 1_000_000_000_007
    with Spool(path) as spool:
        assert spool.unshipped().rows == 0


def test_values_arrive_as_they_were_booked(write, db):
    """Tabs, line ends, backslashes, NULs and what a teacher may call itself survive the way."""
    odd = 'a\tb\n\\.\nc\\d\re‘é\\N,"q"\x00rest'
    path = write(
        [
            asked(1, at=1_700_000_000.123456, label=odd, client=odd, confidence=0.123456789012345),
            entry(2, label=None),
        ]
    )
    ship_all(path, db)
    row = db.execute(
        "select extract(epoch from at)::float8, label, client, confidence, student_pusd, degraded, "
        "model, teacher_label, latency_ms from raisehand.decisions where request_id = 'r1'"
    ).fetchone()
    clean = odd.partition("\x00")[0]
    assert row == (
        1_700_000_000.123456,
        clean,
        clean,
        0.123456789012345,
        123,
        False,
        "big",
        "urgent",
        1.5,
    )
    assert count(db, "count(*) filter (where label is null and teacher_label is null)") == 1


def test_moments_and_shares_arrive_to_the_last_digit(write, db):
    """Any microsecond, also the last of a day; any confidence and propensity, and none."""
    rng = random.Random(4)
    moments = [NOW // 86_400 * 86_400 - 1e-6, NOW // 86_400 * 86_400 - 2.4e-7, NOW // 1 + 0.999999]
    moments += [NOW // 1 - rng.randrange(86_400) + rng.randrange(10**6) / 1e6 for _ in range(500)]
    path = write(
        [
            entry(
                i, at, confidence=None if i % 7 == 0 else rng.random(),
                latency_ms=rng.random() * 9e4, propensity=10.0 ** -(i % 8),
            )
            for i, at in enumerate(moments)
        ]
    )  # fmt: skip
    ship_all(path, db)
    names = "confidence, latency_ms, propensity"
    with sqlite3.connect(path) as file:
        booked = file.execute(f"select at, {names} from entries order by id").fetchall()
    rows = db.execute(
        f'select extract(epoch from at)::float8, {names} from raisehand.decisions order by "row"'
    ).fetchall()
    assert len(rows) == len(booked) == len(moments)
    for there, here in zip(rows, booked, strict=True):
        assert there[0] == pytest.approx(here[0], abs=1e-6, rel=0)
        for value, wanted, off in zip(there[1:], here[1:], (1e-15, 1e-6, 1e-15), strict=True):
            assert value == (wanted and pytest.approx(wanted, rel=1e-9, abs=off))
    assert {row[0] for row in rows} >= set(moments[3:])


def test_rows_that_are_missing_end_no_batch(write, db):
    """A batch is found by its ends: gaps in its middle, and as long as one, are stepped over."""
    path = write([asked(i) for i in range(BATCH_ROWS + 30)])
    with sqlite3.connect(path) as file:
        file.execute("delete from entries where id between 3 and 8")
        file.execute("delete from entries where id between 11 and ?", (BATCH_ROWS + 20,))
    assert ship_all(path, db) == [10, BATCH_ROWS + 20]
    rows = db.execute('select "row" from raisehand.decisions order by 1').fetchall()
    wanted = [1, 2, 9, 10, *range(BATCH_ROWS + 21, BATCH_ROWS + 31)]
    assert [row for (row,) in rows] == wanted


def test_a_clock_that_went_far_names_the_days_there_are(write, db):
    """Rows of two days far apart make two partitions, and none for the days between."""
    path = write([entry(i, NOW - far * 86_400) for i, far in enumerate((0, 40, 0, 3))])
    ship_all(path, db)
    found = db.execute("select day from raisehand.ledger_days order by 1").fetchall()
    assert [day for (day,) in found] == [
        datetime.fromtimestamp(NOW - far * 86_400, UTC).date() for far in (40, 3, 0)
    ]
    assert count(db) == 4


def test_the_database_adds_a_whole_batch_up_without_its_disk(write, database, db):
    """The rows of a batch that it adds up fit in the memory that the batch asks for."""
    words = {"label": "x" * 80, "client": "y" * 80, "text_sha256": "0" * 64}
    path = write([asked(i, **words) for i in range(BATCH_ROWS)])
    with connect(database, "ships") as ships:
        ship_all(path, ships)
    stats = "select tup_inserted, temp_files from pg_stat_database where datname = "
    stats += "current_database()"
    until(lambda: db.execute(stats).fetchone()[0] >= BATCH_ROWS)
    assert db.execute(stats).fetchone()[1] == 0


def test_a_router_of_the_version_before_adds_its_sums_itself(write, db):
    """Rows that come without the word get none of the database: nothing is added up twice."""
    ship_all(write([asked(1)]), db)
    db.execute("insert into raisehand.decisions select * from raisehand.decisions")
    assert db.execute("select sum(requests) from raisehand.ledger_sums").fetchone() == (1,)


def test_a_day_is_utc_whatever_the_server_thinks(write, db):
    """Two requests around midnight UTC lie in two partitions on a server in Kathmandu."""
    midnight = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    ship_all(write([entry(1, midnight - 0.001), entry(2, midnight)]), db)
    for day, found in (("2026_02_28", "r1"), ("2026_03_01", "r2")):
        rows = db.execute(f"select request_id from raisehand.decisions_{day}").fetchall()
        assert rows == [(found,)]


def test_a_kill_between_the_copy_and_the_offset_adds_nothing(write, database, db):
    """A connection that dies inside the transaction leaves neither rows nor sums behind."""
    path = write([asked(i) for i in range(10)])
    days.make_days(db, [days.today()])

    class Dies(Spool):
        def lines(self, batch, instance, without=()):
            victim.execute("select pg_terminate_backend(pg_backend_pid())")

    with connect(database, "victim") as victim, Dies(path) as spool:
        instance = postgres.instance_of(db, spool)
        with pytest.raises(psycopg.OperationalError):
            postgres.ship(victim, spool, instance)
    assert count(db) == 0
    assert ship_all(path, db) == [10]
    assert count(db) == 10


def test_a_file_that_went_another_way_is_refused(write, db, tmp_path):
    """A copy of a ledger that was written to beside its original would lose rows: it is refused."""
    path = write([entry(i) for i in range(3)])
    copy = shutil.copy(path, tmp_path / "copy.sqlite")
    write([entry(i) for i in range(10, 15)])
    ship_all(path, db)
    write([entry(i) for i in range(20, 23)], "copy.sqlite")
    with pytest.raises(BadLedger, match="copied or restored"):
        ship_all(copy, db)
    write([entry(i) for i in range(30, 39)], "copy.sqlite")
    with pytest.raises(BadLedger, match="copied or restored"):
        ship_all(copy, db)
    assert count(db) == 8


def test_two_files_are_two_instances(write, db):
    """Row 1 of one host is not row 1 of another."""
    for name in ("one.sqlite", "two.sqlite"):
        ship_all(write([entry(i) for i in range(4)], name), db)
    assert count(db) == count(db, 'count(distinct ("instance", "row"))') == 8
    assert count(db, "count(distinct instance)") == 2


def sums(db):
    """What the sums add up to: requests, both payers' pico-dollars, attempts."""
    return db.execute(
        "select sum(requests), sum(student_pusd), sum(teacher_pusd), sum(attempts) "
        "from raisehand.ledger_sums"
    ).fetchone()


def test_sums_are_those_of_the_rows_with_more_groups_than_any_batch(write, db):
    """Sums agree with rows over batches, hours and more keys than one batch has rows."""
    path = write([asked(i, NOW - 60.0 * i, client=f"k{i % 3_000}") for i in range(BATCH_ROWS * 2)])
    ship_all(path, db)
    rows = db.execute(
        "select count(*), sum(student_pusd), sum(teacher_pusd), sum(attempts) "
        "from raisehand.decisions"
    ).fetchone()
    assert sums(db) == rows


def test_an_old_day_becomes_its_sums_and_late_rows_are_added(write, db):
    """Retiring a day forgets its rows and no dollar; a row that comes later is in the sums only."""
    day = days.today() - timedelta(days=9)
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    ship_all(write([asked(i, at + i) for i in range(5)]), db)
    ship_all(write([asked(i, at + i) for i in range(5)], "other.sqlite"), db)
    before = sums(db)
    assert days.old_days(db, 8) == [day]
    assert days.old_days(db, 9) == []
    assert days.retire(db, day)
    assert (count(db), sums(db), days.old_days(db, 8)) == (0, before, [])
    assert db.execute("select count(*) from raisehand.ledger_sums").fetchone() == (1,)
    ship_all(write([asked(7, at + 7), entry(8)]), db)
    assert count(db) == 1
    assert sums(db)[2] == before[2] + 1_000_000_000_007


def test_a_day_whose_sums_are_wrong_keeps_its_rows(write, db):
    """Rows are the proof: where sums differ from them they are not dropped."""
    day = days.today() - timedelta(days=9)
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    ship_all(write([asked(i, at + i) for i in range(5)]), db)
    db.execute("update raisehand.ledger_sums set teacher_pusd = teacher_pusd - 1")
    assert not days.retire(db, day)
    assert count(db) == 5


def test_days_are_made_ahead_once(db):
    """Partitions for today and three days more; how many there are is known."""
    assert days.days_ahead(db) == 0
    for _ in range(2):
        days.make_days(db, [days.today() + timedelta(days=i) for i in range(4)])
    assert days.days_ahead(db) == days.AHEAD
    db.execute(f"drop table {days.table_of(days.today() + timedelta(days=2))}")
    assert days.days_ahead(db) == 1


def test_a_file_folds_nothing_that_was_not_shipped(write, db, tmp_path):
    """Old rows of a file wait for the database; its newest row stays: numbers go on."""
    at = NOW - 9 * 86_400
    path = write([asked(i, at + i) for i in range(5)])

    def folded():
        with sqlite3.connect(path, isolation_level=None) as connection:
            while fold(connection, 7, ships=True):
                pass
            return connection.execute("select count(*) from entries").fetchone()[0]

    assert folded() == 5
    ship_all(path, db)
    assert folded() == 1
    assert read_totals(path).all.teacher_usd == 5 * Decimal("1.000000000007")
    ship_all(write([asked(i) for i in range(5, 7)]), db)
    assert count(db) == 7


@pytest.fixture
def quick(monkeypatch):
    """A shipper that need not wait."""
    monkeypatch.setattr("router.ledger.shipping.shipper.EVERY_S", 0.02)
    monkeypatch.setattr("router.ledger.shipping.carrier.RETRY_S", 0.02)


def test_one_of_several_workers_ships_and_another_takes_over(write, database, db, quick):
    """Two shippers of one file never ship together; when one is gone the other goes on."""
    path = write([entry(i) for i in range(5)])
    first = Shipper(Carrier(path, database))
    until(lambda: count(db) == 5)
    second = Shipper(Carrier(path, database))
    write([entry(i) for i in range(5, 9)])
    until(lambda: count(db) == 9)
    assert (first.leads, second.leads) == (True, False)
    assert first.state.days_ahead == days.AHEAD
    first.close()
    write([entry(i) for i in range(9, 11)])
    until(lambda: count(db) == 11)
    second.close()
    assert first.state.rows + second.state.rows == 11


def test_rows_wait_for_tables_and_come_when_these_are_made(write, empty_database, quick, caplog):
    """A router that starts before anybody migrated says so, once, and ships as soon as it can."""
    from router.database.migrate import migrate

    path = write([entry(i) for i in range(5)])
    shipper = Shipper(Carrier(path, empty_database))
    until(lambda: shipper.state.errors > 2)
    assert shipper.state.unshipped.rows == 5
    assert math.isclose(shipper.state.unshipped.oldest_at, NOW)
    migrate(empty_database)
    until(lambda: shipper.state.up)
    shipper.close()
    assert shipper.state.unshipped.rows == 0
    assert caplog.text.count("raisehand database migrate") == 1


def test_what_is_left_is_shipped_at_close(write, database, db):
    """A pod that ends takes its disk with it: the last rows are shipped before."""
    path = write([entry(i) for i in range(5)])
    Shipper(Carrier(path, database)).close()
    assert count(db) == 5


def test_a_database_that_is_killed_gets_every_row_once(write, make_postgres, quick):
    """Rows booked while PostgreSQL is dead arrive when it is back, and none twice."""
    from router.database.migrate import migrate

    server = make_postgres()
    url = server.create()
    migrate(url)
    path = write([asked(i) for i in range(20)])
    shipper = Shipper(Carrier(path, url))
    until(lambda: shipper.state.rows == 20)
    server.kill()
    write([asked(i) for i in range(20, 50)])
    until(lambda: shipper.state.unshipped.rows == 30 and not shipper.state.up)
    server.start()
    until(lambda: shipper.state.rows == 50)
    shipper.close()
    with psycopg.connect(url) as connection:
        assert count(connection) == count(connection, 'count(distinct "row")') == 50


def test_a_database_that_is_read_only_loses_nothing(write, database, db, postgres, quick):
    """A standby, or an operator's switch, refuses rows: they wait."""
    name = database.rsplit("/", 1)[1]
    path = write([entry(i) for i in range(5)])
    db.execute(f"alter database {name} set default_transaction_read_only = on")
    shipper = Shipper(Carrier(path, database))
    until(lambda: shipper.state.errors)
    assert not shipper.state.up
    with postgres.connect("postgres") as connection:
        connection.execute(f"alter database {name} set default_transaction_read_only = off")
    until(lambda: shipper.state.rows == 5)
    shipper.close()


def test_a_wrong_address_stops_the_start(write):
    """What can never work is said at once."""
    with pytest.raises(BadDatabase, match="another form"):
        Carrier(write([]), "mysql://x/y")
