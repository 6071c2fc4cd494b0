"""Kept texts: unreadable without the key, gone when their time is over, gone when asked."""

from __future__ import annotations

import base64
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from costmodel.units import DAY_S
from students.errors import BadTask
from students.sections import TextsSection
from students.texts.cipher import TextCipher, open_cipher
from students.texts.learnt import bundles_of, note
from students.texts.store import KeptText, Said, TextWriter, forget, read_texts, recognised_of

SECRET = "My card was charged twice, says Ada"
KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path):
    """Where texts are kept."""
    return tmp_path / "work" / "texts.sqlite"


def kept(text=SECRET, request_id="r-1", at=1_000.0, **said):
    """A text that a teacher answered."""
    fields = {"teacher_label": "urgent", "student_label": "calm", "confidence": 0.5, **said}
    return KeptText(
        task="mail",
        request_id=request_id,
        at=at,
        kind="escalation",
        propensity=0.25,
        said=Said(text=text, **fields),
    )


def store(path, *texts, now=1_000.0, **section):
    """Write texts with a writer that is closed."""
    section = TextsSection(basis="a test", **section)
    writer = TextWriter(path, TextCipher(KEY), section, wall=lambda: now)
    for text in texts:
        writer.put(text)
    writer.close()
    return writer


def test_what_was_said_comes_back_with_the_key_alone(path):
    """Text, labels and shares; the file shows none of them, whichever of its pages one reads."""
    writer = store(path, kept(probabilities=[0.25, 0.75], other=0.01))
    assert (writer.stored, writer.dropped) == (1, 0)
    [found] = read_texts(path, TextCipher(KEY), "mail")
    written = kept(probabilities=[0.25, 0.75], other=0.01)
    assert msgspec.structs.replace(found, recognised="") == written
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for word in (b"card", b"Ada", b"urgent", b"calm", b"0.75"):
        assert word not in raw
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(BadTask, match="cannot be read with this key"):
        list(read_texts(path, TextCipher(bytes(32)), "mail"))


def test_a_row_cannot_be_passed_off_as_another(path):
    """What is sealed belongs to its request: moved, it is not read."""
    store(path, kept())
    with sqlite3.connect(path) as connection:
        connection.execute("update texts set request_id = 'r-2'")
    with pytest.raises(BadTask, match="cannot be read"):
        list(read_texts(path, TextCipher(KEY), "mail"))


def test_texts_are_deleted_when_their_time_is_over(path):
    """By age, by whoever writes next, and counted."""
    store(path, kept(at=0.0), kept(at=20 * DAY_S), now=20 * DAY_S)
    writer = store(path, now=31 * DAY_S, keep_days=30.0)
    assert writer.expired in (0, 1)  # what the first writer deleted already is not deleted twice
    assert [text.at for text in read_texts(path, TextCipher(KEY), "mail")] == [20 * DAY_S]


def test_what_names_a_person_is_masked_unless_told(path):
    """On by default; the kinds are counted, and a text is still recognised as it was sent."""
    text = "write to ada@example.org or +44 20 7946 0958"
    writer = store(path, kept(text))
    assert dict(writer.masked)["EMAIL"] == 1
    [found] = read_texts(path, TextCipher(KEY), "mail")
    assert found.said.text == "write to [EMAIL] or [PHONE]"
    assert found.recognised == TextCipher(KEY).recognise(text)
    other = path.with_name("raw.sqlite")
    store(other, kept(text), mask=False)
    assert next(read_texts(other, TextCipher(KEY), "mail")).said.text == text


def test_forgotten_by_request_and_by_text(path):
    """Every copy of a text, every text of a list; others stay."""
    store(
        path,
        kept("a", "r-1"), kept("a", "r-2"), kept("b", "l-1.0"), kept("c", "l-1.1"),
        kept("d", "l-10.0"), kept("e", "r-3"),
    )  # fmt: skip
    cipher = TextCipher(KEY)
    assert recognised_of(path, "mail", ["l-1"]) == [cipher.recognise("b"), cipher.recognise("c")]
    assert forget(path, "mail", recognised=[cipher.recognise("a")]) == 2
    assert forget(path, "mail", request_ids=["l-1"]) == 2
    assert forget(path, "other", request_ids=["r-3"]) == 0
    assert forget(path, "other", recognised=[cipher.recognise("e")]) == 0
    assert [text.said.text for text in read_texts(path, cipher, "mail")] == ["d", "e"]


def test_whoever_learnt_from_it_is_named(tmp_path):
    """A bundle is found by what it learnt from, without a text."""
    note(tmp_path, "aaa", ["1", "2"], 1.0)
    note(tmp_path, "bbb", ["2", "3"], 2.0)
    assert bundles_of(tmp_path, ["2"]) == ["aaa", "bbb"]
    assert bundles_of(tmp_path, ["3"]) == ["bbb"]
    assert bundles_of(tmp_path / "none", ["3"]) == []


def test_the_key_is_its_owners_only(tmp_path):
    """Made once, whoever comes first; one that others may read is refused, as is none."""
    section = TextsSection(basis="a test")
    with ThreadPoolExecutor(8) as pool:
        ciphers = list(pool.map(lambda _: open_cipher(section, tmp_path), range(8)))
    file = tmp_path / "texts.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len({cipher.recognise("x") for cipher in ciphers}) == 1
    file.chmod(0o640)
    with pytest.raises(BadTask, match="can be read by others"):
        open_cipher(section, tmp_path)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(BadTask, match="holds no key"):
        open_cipher(section, tmp_path)


def test_the_key_may_stand_in_a_variable(tmp_path):
    """Then no file is made, and a missing variable stops the start."""
    section = TextsSection(basis="a test", key_env="TEXTS_KEY")
    environment = {"TEXTS_KEY": base64.b64encode(os.urandom(32)).decode()}
    open_cipher(section, tmp_path, environment)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadTask, match="not set"):
        open_cipher(section, tmp_path, {})


def test_a_busy_file_waits_and_loses_nothing(path):
    """Texts wait in memory while somebody else holds the file."""
    store(path, kept(request_id="first"))
    held = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    held.execute("begin immediate")
    writer = TextWriter(path, TextCipher(KEY), TextsSection(basis="a test"), wall=lambda: 1_000.0)
    writer.put(kept(request_id="second"))
    threading.Timer(0.3, lambda: held.execute("rollback")).start()
    writer.close()
    held.close()
    assert (writer.stored, writer.dropped) == (1, 0)
    found = [text.request_id for text in read_texts(path, TextCipher(KEY), "mail")]
    assert found == ["first", "second"]


def test_no_file_is_one_sentence(path):
    """A task that keeps no texts has none to read or forget."""
    with pytest.raises(BadTask, match="there are no kept texts"):
        forget(path, "mail", request_ids=["x"])
    assert not path.exists()
