"""What two hosts tell through the database is what one file with all their rows would say."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from costmodel.units import DAY_S
from router.cli import main
from router.errors import BadDatabase, BadLedger
from router.insight.accuracy import read_accuracy
from router.insight.invoice import reconcile
from router.insight.periods import periods
from router.insight.replay import replay
from router.insight.savings import read_savings
from router.ledger.feedback import FeedbackSource, Judgement, Received, SqliteFeedback
from router.ledger.rollup import fold
from router.ledger.shipping import days
from router.ledger.shipping.carrier import Carrier
from router.ledger.shipping.shipper import Shipper
from router.ledger.shipping.verdicts import VerdictCargo
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.process.board.spending import open_spending
from router.testing import sample_entry
from students.task import load_task

NOW = time.time() // 1 - 60.0
HOSTS = ("one", "two")

TASK = {
    "name": "urgent", "labels": ["calm", "urgent"], "work_dir": ".",
    "teacher": {
        "mode": "classify", "base_url": "http://127.0.0.1:9", "model": "m",
        "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
    },
    "inputs": {"path": "inputs.csv"},
}  # fmt: skip


def traffic(n=600):
    """Requests of the last days: kept, audited, escalated, passed on, unpriced, of a table."""
    for i in range(n):
        sure = 0.3 + 0.7 * (i * 37 % 101) / 101
        kept, drawn = sure >= 0.6, i % 7 == 0
        answered = drawn or not kept
        more = {}
        if i % 50 == 3:
            more = {"student_usd": None}
        elif i % 50 == 4:
            more = {"surface": "batch"}
        elif i % 50 == 5:
            more = {"reason": Reason.PASSTHROUGH, "route": Route.TEACHER, "model": "small"}
        yield sample_entry(
            **{
                "at": NOW - i * 700.25,
                "request_id": f"r-{i}",
                "confidence": sure,
                "route": Route.STUDENT if kept else Route.TEACHER,
                "reason": Reason.CONFIDENT if kept else Reason.LOW_CONFIDENCE,
                "label": "urgent",
                "student_label": "urgent",
                "teacher_label": ("calm" if i % 9 == 0 else "urgent") if answered else None,
                "audited": kept and drawn,
                "propensity": 0.15 if drawn else 0.0,
                "attempts": (1 + i % 4 // 3) if answered else 0,
                "input_tokens": 30 + i if answered else 0,
                "output_tokens": 2 if answered else 0,
                "estimated": i % 41 == 0,
                "student_usd": Decimal("0.000000013889"),
                "teacher_usd": Decimal("0.000123") * (1 + i % 5) if answered else Decimal(0),
                "client": f"team-{i % 3}",
            }
            | more
        )


def said(i, **more):
    """A user's verdict on a request."""
    fields = {"task": "urgent", "source": FeedbackSource.USER, "client": f"team-{i % 3}",
              "reviewer": False, "at": NOW + i}  # fmt: skip
    return Judgement(
        **{"request_id": f"r-{i}", "gold": "urgent" if i % 4 else "calm", **fields, **more}
    )


VERDICTS = [
    *[said(i) for i in range(0, 200, 3)],
    *[said(i, gold=None, correct=bool(i % 2)) for i in range(1, 100, 3)],
    said(5, source=FeedbackSource.REVIEWER, reviewer=True, client="boss"),
    said(7, client="team-2"),
    said(9_999),
]


def book(path, entries, verdicts):
    """Write a host's file."""
    ledger, box = SqliteLedger(path, ships=True), SqliteFeedback(path)
    for entry in entries:
        ledger.append(entry)
    ledger.close()
    for verdict in verdicts:
        box.put(verdict)


def ship(path, url):
    """Carry a host's file to the database, as its router does when it stops."""
    shipper = Shipper(Carrier(path, url, cargo=[VerdictCargo(path)]))
    shipper.close(60.0)
    assert not shipper.state.errors


@pytest.fixture
def task_file(tmp_path):
    """A task that both hosts serve."""
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(TASK), encoding="utf-8")
    return path


@pytest.fixture
def both(tmp_path, database):
    """All rows in one file, and the address of a database that two hosts shipped them to.

    What the one host answered is judged at the other. Each has answered just now, too: there is
    something of this month on its first day.
    """
    now = [sample_entry(request_id=f"now-{name}", at=time.time()) for name in HOSTS]
    entries = [*traffic(), *now]
    book(tmp_path / "all.sqlite", entries, VERDICTS)
    for k, name in enumerate(HOSTS):
        book(tmp_path / f"{name}.sqlite", entries[k::2], VERDICTS[1 - k :: 2])
        ship(tmp_path / f"{name}.sqlite", database)
    return tmp_path / "all.sqlite", database


def test_a_verdict_finds_its_request_at_whichever_host(both):
    """Accuracy, agreement, what is unmatched and what is of others: all as in one file."""
    file, url = both
    one, other = read_accuracy(file, "urgent"), read_accuracy(url, "urgent")
    assert one == other
    assert one.all["cascade"].n > 80
    assert (one.unmatched, one.of_others) == (1, 1)
    assert read_accuracy(url, "urgent", NOW - DAY_S) == read_accuracy(file, "urgent", NOW - DAY_S)


def test_savings_are_those_of_all_hosts(both, task_file):
    """To the pico-dollar for what was paid, and the estimate as far as floats add up alike."""
    one, other = (read_savings(source, "urgent", 0.0, NOW + 1) for source in both)
    for name in ("requests", "kept", "escalated", "not_counted", "teacher_usd", "student_usd",
                 "audits", "unpriced", "estimated"):  # fmt: skip
        assert getattr(one, name) == getattr(other, name), name
    assert one.first == pytest.approx(other.first)
    assert float(one.counterfactual) == pytest.approx(float(other.counterfactual))
    assert float(one.margin) == pytest.approx(float(other.margin))
    assert one.audits > 30
    task = load_task(task_file)
    months = [periods(source, task, NOW + 1)["month"].paid for source in both]
    assert months[0] == months[1]


def test_a_replay_draws_the_same_sample(both):
    """Kept, disagreement and cost of every threshold."""
    file, url = both
    one, other = (replay(source, "urgent", [0.4, 0.6, 0.8]) for source in (file, url))
    assert (one.requests, one.drawn, one.lost) == (other.requests, other.drawn, other.lost)
    for here, there in zip(one.thresholds, other.thresholds, strict=True):
        assert (here.kept, here.disagreement, here.of_kept) == (
            there.kept, there.disagreement, there.of_kept,
        )  # fmt: skip
        assert float(here.teacher_usd) == pytest.approx(float(there.teacher_usd))


def test_an_invoice_is_held_against_all_hosts(both, tmp_path):
    """Day by day and model by model."""
    invoice = tmp_path / "invoice.csv"
    dates = sorted({datetime.fromtimestamp(one.at, UTC).date() for one in traffic()})
    lines = [f"{day},big,1.0" for day in dates]
    invoice.write_text("\n".join(["day,model,usd", *lines]), encoding="utf-8")
    one, other = (reconcile(source, invoice, "urgent", "big") for source in both)
    assert one == other
    assert {line.model for line in one} == {"big", "small"}
    assert len(one) > len(dates)


def test_the_page_adds_up_all_hosts(both):
    """Spent today and this month, from the sums by the hour."""
    one, other = (open_spending(source).advance() for source in both)
    assert one == other
    assert sum(paid.requests for paid in one.month.values()) > 0


def test_commands_read_the_database_of_the_variable_and_a_file_that_is_named(
    both, tmp_path, task_file
):
    """One place decides: what is named, else the database, else this host's file."""
    file, url = both

    def read(command, env, *more):
        arguments = [command, "--task", str(task_file), "--json", *more]
        found = CliRunner(env=env).invoke(main, arguments)
        assert found.exit_code == 0, found.output
        return json.loads(found.output)

    fleet = {"RAISEHAND_DATABASE_URL": url}
    half = str(tmp_path / "one.sqlite")
    for command, count in (
        ("accuracy", lambda found: found["agreement"]["n"]),
        ("savings", lambda found: found["month"]["requests"]),
        ("replay", lambda found: found["requests"]),
    ):
        whole = count(read(command, {}, "--ledger", str(file)))
        assert count(read(command, fleet)) == whole
        assert count(read(command, {}, "--ledger", url)) == whole
        assert count(read(command, fleet, "--ledger", half)) < whole


def test_what_is_said_again_counts_once_and_the_last_word_counts(tmp_path, database):
    """Also where it is said at different hosts, and shipped in the other order."""
    for name, at, gold in (("two", 20.0, "calm"), ("one", 10.0, "urgent")):
        book(tmp_path / f"{name}.sqlite", [], [said(0, at=at, gold=gold)])
        ship(tmp_path / f"{name}.sqlite", database)
    again = SqliteFeedback(tmp_path / "one.sqlite").put(said(0, at=30.0, gold="urgent"))
    assert again is Received.SAME
    ship(tmp_path / "one.sqlite", database)
    with psycopg.connect(database) as connection:
        assert connection.execute("select gold, at from raisehand.feedback").fetchall() == [
            ("calm", 20.0)
        ]
    assert SqliteFeedback(tmp_path / "one.sqlite").put(said(0, at=40.0, gold="spam"))
    ship(tmp_path / "one.sqlite", database)
    with psycopg.connect(database) as connection:
        assert connection.execute("select gold from raisehand.feedback").fetchall() == [("spam",)]


def test_feedback_that_did_not_arrive_is_not_folded(tmp_path, database):
    """It goes with its request's row, and not before the database has it."""
    path = tmp_path / "one.sqlite"
    book(path, [sample_entry(at=12.0), sample_entry(at=NOW)], [said(0, at=11.0)])

    def verdicts():
        with sqlite3.connect(path) as connection:
            return connection.execute("select count(*) from feedback").fetchone()[0]

    def fold_all():
        with sqlite3.connect(path, isolation_level=None) as connection:
            connection.execute("update spool set shipped = 9")
            fold(connection, 1, ships=True)

    fold_all()
    assert verdicts() == 1
    book(path, [sample_entry(at=12.0), sample_entry(at=NOW)], [])
    ship(path, database)
    fold_all()
    assert verdicts() == 0


def test_a_file_of_an_older_version_learns_what_was_shipped(tmp_path):
    """Its verdicts are on their way as soon as it is opened."""
    path = tmp_path / "ledger.sqlite"
    book(path, [], [said(0)])
    with sqlite3.connect(path) as connection:
        connection.execute("drop index feedback_waits")
        connection.execute("alter table feedback drop column shipped")
    SqliteFeedback(path)
    assert VerdictCargo(path).waits()


def test_of_a_retired_day_the_database_has_only_sums(both, task_file):
    """Savings say where rows begin; the month is counted from there; its feedback is gone."""
    _, url = both
    with psycopg.connect(url, autocommit=True) as connection:
        for day in days.old_days(connection, 2):
            assert days.retire(connection, day)
        first = connection.execute("select min(at) from raisehand.decisions").fetchone()[0]
    with pytest.raises(BadLedger, match="only daily sums"):
        read_savings(url, "urgent", 0.0, NOW)
    month = periods(url, load_task(task_file), NOW + 1)["month"]
    of_month = datetime.fromtimestamp(NOW + 1, UTC).replace(day=1, hour=0, minute=0, second=0)
    assert month.start == max(first.timestamp() // DAY_S * DAY_S, of_month.timestamp())


def test_a_database_that_is_away_is_one_sentence():
    """And not half of the figures."""
    url = "postgresql://u:secret@127.0.0.1:9/x"
    for read in (
        lambda: read_accuracy(url, "urgent"),
        lambda: replay(url, "urgent", [0.5]),
        lambda: open_spending(url).advance(),
    ):
        with pytest.raises(BadDatabase, match=r"127\.0\.0\.1:9/x cannot be used") as caught:
            read()
        assert "secret" not in str(caught.value)
