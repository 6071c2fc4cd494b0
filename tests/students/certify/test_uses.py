"""The certificate ledger: looking again at the same rows is counted, before the look."""

import pytest

from students.certify.uses import read_uses, take_use
from students.errors import BadInputs
from students.task import PromiseSection

PROMISE = PromiseSection(agreement=0.97)


def test_recertifying_repeatedly_on_one_set_counts_up(tmp_path):
    """Another student on the same rows is use 2, then 3; other rows begin at 1."""
    path = tmp_path / "work" / "certificates.jsonl"
    assert [take_use(path, "rows", artefact, PROMISE) for artefact in "abc"] == [1, 2, 3]
    assert take_use(path, "other rows", "a", PROMISE) == 1


def test_another_promise_on_the_same_rows_is_another_use(tmp_path):
    """Trying 98 % after 97 % was certified is a second look."""
    path = tmp_path / "certificates.jsonl"
    take_use(path, "rows", "a", PROMISE)
    assert take_use(path, "rows", "a", PromiseSection(agreement=0.98)) == 2


def test_the_same_student_and_promise_is_the_same_look(tmp_path):
    """Running the same distillation again costs nothing: it cannot give another answer."""
    path = tmp_path / "certificates.jsonl"
    take_use(path, "rows", "a", PROMISE)
    take_use(path, "rows", "b", PROMISE)
    assert take_use(path, "rows", "a", PROMISE) == 1
    assert len(read_uses(path)) == 2


def test_a_damaged_ledger_is_one_sentence(tmp_path):
    """Without the ledger delta cannot be accounted for: certification stops."""
    path = tmp_path / "certificates.jsonl"
    path.write_text('{"use": 0}\n')
    with pytest.raises(BadInputs, match="restore the file"):
        take_use(path, "rows", "a", PROMISE)


def test_a_ledger_that_cannot_be_written_is_one_sentence(tmp_path):
    """A look that cannot be written down is not taken."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputs, match="cannot be"):
        take_use(tmp_path / "file" / "certificates.jsonl", "rows", "a", PROMISE)
