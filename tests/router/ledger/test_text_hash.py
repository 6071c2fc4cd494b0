"""Texts cannot be guessed from a copy of the ledger, and can be found again by who has the key."""

import hashlib

import pytest

from router.errors import BadLedger
from router.ledger.text_hash import FILE, TextHash, open_text_hash


def test_the_same_installation_finds_a_text_again(tmp_path):
    """All its workers and every restart agree; another installation does not."""
    one, again = open_text_hash(tmp_path / "a"), open_text_hash(tmp_path / "a")
    other = open_text_hash(tmp_path / "b")
    assert one("yes") == again("yes") != other("yes")
    assert one("yes") != one("no")
    assert one("yes") != hashlib.sha256(b"yes").hexdigest()
    assert TextHash()("yes") != TextHash()("yes")


def test_the_secret_is_its_owners_and_nothing_is_left_over(tmp_path):
    """Readable by nobody else."""
    open_text_hash(tmp_path)
    [path] = tmp_path.iterdir()
    assert (path.name, path.stat().st_mode & 0o777) == (FILE, 0o600)


def test_a_damaged_secret_is_one_sentence(tmp_path):
    """It is not replaced in silence: nothing written before would be found again."""
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(BadLedger, match="restore it"):
        open_text_hash(tmp_path)
