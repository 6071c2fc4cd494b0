"""The certificate ledger: looking again at the same rows is counted, before the look."""

import json
import multiprocessing

import pytest

from students.certify.uses import read_uses, row_ids, take_use
from students.errors import BadInputs
from students.sections import PromiseSection

PROMISE = PromiseSection(agreement=0.97)
TEXTS = [f"text {i}" for i in range(100)]
ROWS = row_ids(TEXTS, ["calm"] * 100)
OTHER = row_ids([f"other {i}" for i in range(100)], ["calm"] * 100)


def test_recertifying_repeatedly_on_one_set_counts_up(tmp_path):
    """Another student on the same rows is use 2, then 3; other rows begin at 1."""
    path = tmp_path / "work" / "certificates.jsonl"
    assert [take_use(path, ROWS, artefact, PROMISE) for artefact in "abc"] == [1, 2, 3]
    assert take_use(path, OTHER, "a", PROMISE) == 1


def test_another_promise_on_the_same_rows_is_another_use(tmp_path):
    """Trying 98 % after 97 % was certified is a second look."""
    path = tmp_path / "certificates.jsonl"
    take_use(path, ROWS, "a", PROMISE)
    assert take_use(path, ROWS, "a", PromiseSection(agreement=0.98)) == 2


def test_the_same_student_and_promise_is_the_same_look(tmp_path):
    """Running the same distillation again costs nothing: it cannot give another answer."""
    path = tmp_path / "certificates.jsonl"
    take_use(path, ROWS, "a", PROMISE)
    take_use(path, ROWS, "b", PROMISE)
    assert take_use(path, ROWS, "a", PROMISE) == 1
    assert len(read_uses(path)) == 2


def test_a_damaged_ledger_is_one_sentence(tmp_path):
    """Without the ledger delta cannot be accounted for: certification stops."""
    path = tmp_path / "certificates.jsonl"
    path.write_text('{"use": 0}\n')
    with pytest.raises(BadInputs, match="restore the file"):
        take_use(path, ROWS, "a", PROMISE)


def test_a_ledger_that_cannot_be_written_is_one_sentence(tmp_path):
    """A look that cannot be written down is not taken."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputs, match="cannot be"):
        take_use(tmp_path / "file" / "certificates.jsonl", ROWS, "a", PROMISE)


def test_a_pile_that_grows_is_not_fresh(tmp_path):
    """Ten looks at a pile that grows by a few rows are ten looks; rows all new begin at 1."""
    path = tmp_path / "certificates.jsonl"
    grown = TEXTS
    for look in range(1, 11):
        assert take_use(path, row_ids(grown, ["calm"] * len(grown)), f"{look}", PROMISE) == look
        grown = [*grown[5:], *(f"new {look} {i}" for i in range(10))]
    assert take_use(path, OTHER, "a", PROMISE) == 1


def test_a_pile_that_grows_by_copies_is_not_fresh(tmp_path):
    """Copies judge as they came: .12 of promises at δ = .05 broke where it was one look."""
    path = tmp_path / "certificates.jsonl"
    for look in range(1, 5):
        grown = row_ids(TEXTS * look, ["calm"] * 100 * look)
        assert take_use(path, grown, "a", PROMISE) == look
    assert take_use(path, ROWS, "a", PROMISE) == 1
    assert len({one.rows for one in read_uses(path)}) == 1


def test_a_row_is_its_text_and_the_teachers_answer():
    """Order does not make another set of rows; another answer does."""
    assert (row_ids(TEXTS[::-1], ["calm"] * 100) == ROWS).all()
    assert len({*row_ids(["a"], ["calm"]), *row_ids(["a"], ["urgent"])}) == 2


def test_looks_that_an_older_version_wrote_count_for_every_row(tmp_path):
    """Where the rows of a look are not known, no row is fresh."""
    path = tmp_path / "certificates.jsonl"
    old = {"calibration_sha256": "x", "artefact_sha256": "a", "use": 3, "date": "2026-11-24"}
    path.write_text(json.dumps(old | {"promise": PROMISE.model_dump()}) + "\n")
    assert take_use(path, ROWS, "b", PROMISE) == 4


def _all_ready(barrier):
    global READY
    READY = barrier


def _look_at_once(path, artefact):
    READY.wait(timeout=60)
    return take_use(path, ROWS, artefact, PROMISE)


def test_two_distillations_at_once_take_two_looks(tmp_path):
    """Four processes that look at the same moment, twice, get eight uses."""
    path, context = tmp_path / "certificates.jsonl", multiprocessing.get_context("spawn")
    with context.Pool(4, _all_ready, (context.Barrier(4),)) as pool:
        looks = [(path, str(i)) for i in range(8)]
        uses = pool.starmap(_look_at_once, looks, chunksize=1)
    assert sorted(uses) == list(range(1, 9))
