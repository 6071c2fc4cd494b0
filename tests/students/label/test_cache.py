"""The cache keeps what was paid for and says when it cannot."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from costmodel.money.pricing import TokenUsage
from students.errors import BadInputs
from students.label.cache import ReplyCache, text_key
from students.labels import LabelDistribution
from students.teachers.protocol import TeacherDescriptor, TeacherReply

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DESCRIPTOR = TeacherDescriptor("chat", "m", "1", "p", "{}")
REPLY = TeacherReply(
    LabelDistribution((0.1, 0.7), 0.2, True), TokenUsage(7, 1, 3), "Urgent", '{"raw": 1}'
)


def _put(cache, *texts, repeat=0):
    cache.put(texts, [REPLY] * len(texts), [Decimal("0.1")] * len(texts), NOW, repeat)


def test_an_answer_comes_back_whole(tmp_path):
    """Distribution, usage, price and the raw reply survive closing, whatever the text."""
    strange = "a\x00b \ud800 🚑"
    with ReplyCache(tmp_path / "c.sqlite", DESCRIPTOR) as cache:
        assert not cache.any()
        _put(cache, "a", strange)
    with ReplyCache(tmp_path / "c.sqlite", DESCRIPTOR) as cache:
        assert cache.any()
        found = cache.read(["b", strange])
        assert list(found) == [1]
        assert found[1].distribution == REPLY.distribution
        assert (found[1].usage, found[1].usd) == (REPLY.usage, Decimal("0.1"))
        assert cache.raw("a") == REPLY.raw
        assert cache.raw("b") is None
        assert cache.read(["a"], repeat=1) == {}


def test_teachers_do_not_share_answers(tmp_path):
    """Any field of the descriptor makes another teacher, in the same file."""
    with ReplyCache(tmp_path / "c.sqlite", DESCRIPTOR) as cache:
        _put(cache, "a")
        cache.calls.put_broken(Decimal(2), True, NOW)
    other = TeacherDescriptor("chat", "m", "1", "p", '{"top_logprobs": 5}')
    with ReplyCache(tmp_path / "c.sqlite", other) as cache:
        assert cache.read(["a"]) == {}
        assert not cache.any()
        assert cache.calls.broken() == (0, 0)


def test_broken_calls_are_summed(tmp_path):
    """Certain and possible bills of calls without an answer are told apart."""
    with ReplyCache(tmp_path / "c.sqlite", DESCRIPTOR) as cache:
        for usd, confirmed in ((1, True), (2, True), (5, False)):
            cache.calls.put_broken(Decimal(usd), confirmed, NOW)
        assert cache.calls.broken() == (3, 5)


def test_a_full_disk_is_one_sentence_and_all_or_nothing(tmp_path):
    """When the file cannot grow, the put that failed kept nothing and the others are whole."""
    with ReplyCache(tmp_path / "c.sqlite", DESCRIPTOR) as cache:
        cache._db.execute("PRAGMA max_page_count = 30")
        kept = 0
        while kept < 10_000:
            try:
                _put(cache, f"a{kept}", f"b{kept}")
            except BadInputs as error:
                assert "labelling stops rather than pay" in str(error)  # noqa: PT017
                break
            kept += 1
        assert 10 < kept < 10_000
        for letter in "ab":
            found = cache.read([f"{letter}{i}" for i in range(kept + 1)])
            assert set(found) == set(range(kept))


def test_a_file_of_something_else_is_refused(tmp_path):
    """A file that is no database is named, not overwritten."""
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"not a database, but someone's notes, long enough to be read as one" * 20)
    with pytest.raises(BadInputs, match="is no cache of answers"):
        ReplyCache(path, DESCRIPTOR)
    assert path.read_bytes().startswith(b"not a database")


def _keys(*texts):
    return list(map(text_key, texts))


def test_a_call_that_a_kill_cut_off_may_have_been_billed(tmp_path):
    """Written down before it is made, it stands among the broken calls of whoever opens next."""
    path = tmp_path / "replies.sqlite"
    with ReplyCache(path, DESCRIPTOR, payer="job/1/") as cache:
        cache.calls.put_asked(_keys("lost", "with it"), Decimal(3), NOW)
        cache.calls.put_asked(_keys("answered"), Decimal(4), NOW)
        cache.put(["answered"], [REPLY], [Decimal(1)], NOW)
        cache.calls.put_asked(_keys("refused"), Decimal(5), NOW)
        cache.calls.put_returned(_keys("refused"))
        assert cache.calls.broken("job/") == (0, 0)
    with ReplyCache(path, DESCRIPTOR) as cache:
        [lost] = cache.calls.broken_calls("job/1/")
        assert (lost.usd, lost.confirmed) == (3, False)
        assert list(lost.keys) == _keys("lost", "with it")
        assert cache.calls.broken() == (0, 0)
    with ReplyCache(path, DESCRIPTOR) as cache:
        assert cache.calls.broken("job/") == (0, 3)


def test_labelling_finds_what_a_batch_paid_for_and_does_not_pay_it(tmp_path):
    """Whoever asked first paid; the answer is there for all."""
    path = tmp_path / "replies.sqlite"
    with ReplyCache(path, DESCRIPTOR, payer="job/1/") as cache:
        cache.put(["one"], [REPLY], [Decimal(7)], NOW)
        assert cache.paid("job/") == 7
    with ReplyCache(path, DESCRIPTOR) as cache:
        assert cache.read(["one"])[0].usd == 0
        assert cache.paid() == 0
        known, payers = cache.find(["two", "one"])
        assert payers == {1: "job/1/"}
        assert known[1].usd == 7
