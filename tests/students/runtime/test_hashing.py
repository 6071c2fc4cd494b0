"""Hashed n-grams: one definition, checked against a slow and obvious one."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from students.runtime import hashing

BUCKETS = 1 << 20


def features(text: str, shortest: int = 2, longest: int = 4) -> list[int]:
    """Buckets of one text's features, in order."""
    data, offsets = hashing.pack([text])
    found, ends = hashing.bag(data, offsets, shortest, longest, BUCKETS)
    assert ends.tolist() == [0, found.size]
    return found.tolist()


def described(text: str, shortest: int, longest: int) -> list[str]:
    """The same features as strings, in plain Python."""
    words: list[str] = []
    word = ""
    for c in hashing.folded(text) + " ":
        if c.isascii() and not c.isalnum():
            words += [word] if word else []
            word = ""
        else:
            word += c
    found = []
    for i, w in enumerate(words):
        found.append(f"word {w}")
        if i:
            found.append(f"pair {words[i - 1]} {w}")
        padded = f" {w} "
        for s in range(len(padded) - 1):
            for n in range(shortest, longest + 1):
                if s + n <= len(padded):
                    found.append(f"gram {padded[s : s + n]}")
    return found


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_features_are_words_pairs_and_character_ngrams(text):
    """As many features as the plain definition has, and equal exactly where that one is equal."""
    wanted, found = described(text, 2, 4), features(text)
    assert len(found) == len(wanted)
    bucket_of: dict[str, int] = {}
    for name, bucket in zip(wanted, found, strict=True):
        assert bucket_of.setdefault(name, bucket) == bucket


def test_hashes_spread_over_the_buckets():
    """Distinct words collide no more often than chance."""
    text = " ".join(hashlib.sha256(str(i).encode()).hexdigest()[:12] for i in range(300))
    data, offsets = hashing.pack([text[:16_000]])
    found, _ = hashing.bag(data, offsets, 12, 12, 1 << 16)
    distinct, n = len(set(found.tolist())), found.size
    expected = (1 << 16) * (1 - (1 - 1 / (1 << 16)) ** n)
    assert abs(distinct - expected) < 5 * np.sqrt(n)


@pytest.mark.parametrize("text", ["", " ", "\0\0", "\ud800", "é", "x" * 40_000, "漢" * 20_000])
def test_odd_texts_have_features_within_the_room_for_them(text):
    """Nothing is written past the end, whatever the text; a long text is cut, not refused."""
    data, offsets = hashing.pack([text])
    found, _ = hashing.bag(data, offsets, 2, 4, BUCKETS)
    assert found.size <= hashing.capacity(int(offsets[-1]), 2, 4)
    assert ((found >= 0) & (found < BUCKETS)).all()


def test_a_long_text_is_judged_by_its_beginning():
    """The first CHARACTERS characters decide; one more changes nothing."""
    text = "ab " * (hashing.CHARACTERS // 3) + "a"
    assert features(text) == features(text + "b")
    assert features(text) != features(text[:-1])


@pytest.mark.parametrize(
    ("variant", "plain"),
    [
        ("ｂｉｌｌｉｎｇ　ｐｒｏｂｌｅｍ", "billing problem"),
        ("I don’t “know”", 'I don\'t "know"'),
        ("pre–paid — now", "pre-paid - now"),
        ("the ﬁrst caf\u0065\u0301", "THE FIRST CAFÉ"),
        ("wait…\u00a0½", "wait... 1\u20442"),
    ],
)
def test_what_reads_alike_has_the_same_features(variant, plain):
    """Full width, typographic quotes and dashes, ligatures, marks written apart."""
    assert features(variant) == features(plain)


def test_students_of_older_releases_fold_case_alone():
    """What they were certified with is what they read."""
    data, _ = hashing.pack(["Don’t"], fold=False)
    assert data.tobytes().decode() == "don’t"
