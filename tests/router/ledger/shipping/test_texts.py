"""Texts that hosts keep come together, stay sealed, and are forgotten wherever they are."""

from __future__ import annotations

import base64
import json
import sqlite3
import time

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from costmodel.units import DAY_S
from router.cli import main
from router.ledger.shipping.carrier import Carrier
from router.ledger.shipping.shipper import Shipper
from router.ledger.shipping.texts import TextCargo
from router.ledger.sqlite import SqliteLedger
from students.commands.retrain import _gathered
from students.errors import BadTask
from students.sections import TextsSection
from students.task import load_task
from students.texts.cipher import TextCipher
from students.texts.shelf import open_shelf
from students.texts.store import TEXTS_FILE, KeptText, Said, TextWriter

KEY = bytes(range(32))
NOW = time.time()
SECRET = "My card was charged twice, says Ada"


def kept(request_id, text=SECRET, at=NOW, **said):
    """An audited answer on which student and teacher differ."""
    fields = {"student_label": "calm", "teacher_label": "urgent", "confidence": 0.9,
              "probabilities": [0.1, 0.9], "teacher": "m@"}  # fmt: skip
    return KeptText(
        task="urgent", request_id=request_id, at=at, kind="audit", propensity=1.0,
        said=Said(text=text, **fields | said),
    )  # fmt: skip


class Host:
    """A folder with a task, its texts and its ledger."""

    def __init__(self, folder, url, key=KEY):
        self.folder, self.url, self.key = folder, url, key
        folder.mkdir()
        fields = {
            "name": "urgent", "labels": ["calm", "urgent"], "work_dir": ".",
            "teacher": {
                "mode": "classify", "base_url": "http://127.0.0.1:9", "model": "m",
                "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
            },
            "inputs": {"path": "inputs.csv"},
            "store_texts": {"basis": "a test", "key_env": "TEXTS_KEY"},
        }  # fmt: skip
        (folder / "task.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
        self.task = load_task(folder / "task.yaml")
        SqliteLedger(folder / "ledger.sqlite").close()

    def keep(self, *texts):
        """Store texts as a router does."""
        section = TextsSection(basis="a test", mask=False)
        path = self.folder / TEXTS_FILE
        writer = TextWriter(path, TextCipher(self.key), section, wall=lambda: NOW)
        for text in texts:
            writer.put(text)
        writer.close()
        assert not writer.dropped

    def ship(self):
        """Carry them to the database, as its router does when it stops."""
        path = self.folder / TEXTS_FILE
        cargo = TextCargo(path, "urgent", TextCipher(self.key), 30.0)
        shipper = Shipper(Carrier(self.folder / "ledger.sqlite", self.url, cargo=[cargo]))
        shipper.close(60.0)
        return shipper.state

    def here(self):
        """How many texts are in its own file."""
        with sqlite3.connect(self.folder / TEXTS_FILE) as file:
            return file.execute("select count(*) from texts").fetchone()[0]

    def run(self, command, *arguments):
        """Run a command here, with the database's address set."""
        key = base64.b64encode(self.key).decode()
        env = {"RAISEHAND_DATABASE_URL": self.url, "TEXTS_KEY": key}
        line = [command, "--task", str(self.folder / "task.yaml"), *arguments]
        return CliRunner(env=env).invoke(main, line)


@pytest.fixture
def hosts(tmp_path, database):
    """Two hosts that share a database, and a key."""
    return Host(tmp_path / "one", database), Host(tmp_path / "two", database)


def in_database(url, what="request_id"):
    """What the database has of texts."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"select {what} from raisehand.texts order by at, request_id")
        return [row[0] for row in rows]


def test_texts_of_all_hosts_are_read_at_each(hosts):
    """Suspects are those of every host, and nothing lies there in clear."""
    one, two = hosts
    one.keep(kept("a-1"), kept("a-2", at=NOW + 1))
    two.keep(kept("b-1", "Another text", at=NOW + 2, confidence=0.95))
    for host in hosts:
        assert not host.ship().errors
        assert host.here() == 0  # moved: what is forgotten is forgotten in one place
    assert in_database(one.url) == ["a-1", "a-2", "b-1"]
    assert not any(b"card" in bytes(sealed) for sealed in in_database(one.url, "sealed"))
    found = one.run("suspects")
    assert found.exit_code == 0, found.output
    assert [line.split(",")[0] for line in found.output.splitlines()] == ["id", "b-1", "a-1", "a-2"]


def test_another_student_learns_from_what_all_hosts_kept(hosts, monkeypatch):
    """Each host alone has too little."""
    one, two = hosts
    teacher = f"{one.task.teacher.model}@{one.task.teacher.revision}"
    for k, host in enumerate(hosts):
        host.keep(*[kept(f"{k}-{i}", f"text {k} {i}", teacher=teacher) for i in range(300)])
        assert not host.ship().errors
    monkeypatch.setenv("RAISEHAND_DATABASE_URL", two.url)
    monkeypatch.setenv("TEXTS_KEY", base64.b64encode(KEY).decode())
    assert _gathered(two.task, None).audits == 600


def test_shipped_again_after_a_crash_a_text_is_there_once(hosts):
    """The database had it and the host did not learn of that."""
    one, _ = hosts
    for _ in range(2):
        one.keep(kept("a-1"))
        assert not one.ship().errors
    assert in_database(one.url) == ["a-1"]


def test_forgotten_at_one_host_is_forgotten_at_all(hosts):
    """Shipped or not yet: every copy of the text, and texts of the request's list."""
    one, two = hosts
    one.keep(kept("a-1"), kept("a-2", "Another text"), kept("a-3.1", "Third"), kept("a-31", "Else"))
    two.keep(kept("b-1"), kept("b-2", "Fourth"))
    one.ship()
    done = one.run("forget", "--text", SECRET, "--id", "a-3", "--json")
    assert json.loads(done.output) == {"deleted": 2, "bundles": []}
    done = one.run("forget", "--id", "b-2", "--json")  # at a host that was cut off until now
    assert json.loads(done.output)["deleted"] == 0
    assert two.here() == 2
    two.keep(kept("b-3", "Fourth"))  # a copy under another request
    two.ship()
    assert in_database(one.url) == ["a-2", "a-31"]
    one.keep(kept("a-1"))  # a crash brings it back
    one.ship()
    assert in_database(one.url) == ["a-2", "a-31"]
    two.keep(kept("b-9", at=NOW + 3_600.0))  # and said anew, much later, it is another text
    two.ship()
    assert in_database(one.url) == ["a-2", "a-31", "b-9"]


def test_what_a_host_has_not_shipped_is_forgotten_there_at_once(hosts):
    """Who asks at the host that keeps it need not wait for the database to get it."""
    one, _ = hosts
    one.keep(kept("a-1"))
    assert json.loads(one.run("forget", "--id", "a-1", "--json").output)["deleted"] == 1
    assert one.here() == 0


def test_texts_are_too_old_for_the_database_too(hosts):
    """The time that the task allows ends there as it does in the file."""
    one, _ = hosts
    one.keep(kept("a-1", at=NOW - 29 * DAY_S), kept("a-2"))
    one.ship()
    assert in_database(one.url) == ["a-1", "a-2"]
    cargo = TextCargo(one.folder / TEXTS_FILE, "urgent", TextCipher(KEY), 28.0)
    assert cargo.waits()
    with psycopg.connect(one.url, autocommit=True) as connection:
        cargo.ship(connection)
    assert in_database(one.url) == ["a-2"]
    assert not cargo.waits()


def test_another_key_is_refused_and_its_texts_stay(tmp_path, hosts, caplog):
    """Half the texts could not be read: it is said at the host that has the other key."""
    one, _ = hosts
    other = Host(tmp_path / "three", one.url, bytes(32))
    one.keep(kept("a-1"))
    one.ship()
    other.keep(kept("c-1"))
    assert other.ship().errors
    assert "give all hosts one key" in caplog.text
    assert (other.here(), in_database(one.url)) == (1, ["a-1"])
    assert one.run("forget", "--id", "a-1").exit_code == 0
    other.ship()  # nothing is left that needs the other one
    assert in_database(one.url) == ["c-1"]


def test_a_database_without_tables_or_away_is_one_sentence(hosts, postgres, monkeypatch):
    """And not half of the texts."""
    one, _ = hosts
    for url, said in (
        (postgres.create(), "raisehand database migrate"),
        ("postgresql://u:secret@127.0.0.1:9/x", "cannot be used"),
    ):
        monkeypatch.setenv("RAISEHAND_DATABASE_URL", url)
        with pytest.raises(BadTask, match=said) as caught:
            list(open_shelf(one.task).read(TextCipher(KEY), "urgent"))
        assert "secret" not in str(caught.value)
