"""Of all who see that a check is due one makes it, and a check without answers comes sooner."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from router.errors import BadSettings
from router.promise.same_teacher import SameTeacher
from router.recheck.evidence import CheckedTeacher, TeacherInStore, TeacherJudge
from router.recheck.reference import ReferenceReader
from router.shared.sqlite_store import SqliteStore
from students.task import TeacherCheckSection, load_task

DAY_S = 86_400.0


@pytest.fixture
def reference(labelled_as):
    """What labelling left in a folder."""
    return ReferenceReader(
        load_task(labelled_as("http://127.0.0.1:9", "calm") / "task.yaml")
    ).read()


def judge():
    """One that has seen nothing."""
    return TeacherJudge(CheckedTeacher(known=SameTeacher.of("labels", 200, 200)))


def test_fresh_labels_are_their_own_baseline():
    """Whoever sees them first starts the clock; a check is due an interval later, once."""
    one = judge()
    assert not one.claim(0.0, DAY_S)
    assert not one.claim(DAY_S - 1, DAY_S)
    assert one.claim(DAY_S, DAY_S)
    assert not one.claim(DAY_S + 1, DAY_S)


def test_a_check_without_answers_is_tried_again_after_a_tenth():
    """Nothing is counted, and what was known stays."""
    one = judge()
    one.claim(0.0, DAY_S)
    one.claim(DAY_S, DAY_S)
    one.learn([], DAY_S + 5)
    assert one.verdict.figures["compared"] == 0
    assert not one.claim(1.09 * DAY_S, DAY_S)
    assert one.claim(1.11 * DAY_S, DAY_S)
    one.learn([(0, 0)] * 20, 1.12 * DAY_S)
    assert one.verdict.figures["compared"] == 20
    assert not one.claim(1.5 * DAY_S, DAY_S)


def test_a_check_that_was_cut_off_is_made_again_after_a_tenth():
    """What was answered by then is known."""
    one = judge()
    one.claim(0.0, DAY_S)
    one.claim(DAY_S, DAY_S)
    one.learn([(0, 0)] * 3, DAY_S, cut_off=True)
    assert one.verdict.figures["compared"] == 3
    assert not one.claim(1.09 * DAY_S, DAY_S)
    assert one.claim(1.11 * DAY_S, DAY_S)
    one.learn([(0, 0)] * 20, 1.11 * DAY_S)
    assert not one.claim(1.5 * DAY_S, DAY_S)


def test_a_change_gives_no_orders_of_its_own():
    """What follows from it is ruled on each bundle: one event, not two."""
    one = judge()
    before = one.verdict.orders
    one.learn([(0, 1)] * 40, 0.0)
    assert one.verdict.figures["changed"] == 1
    assert one.verdict.orders == before


def test_of_eight_who_see_that_it_is_due_one_begins(tmp_path, reference):
    """Each with a connection of its own, as processes have."""
    stores = [SqliteStore(tmp_path / "shared.sqlite") for _ in range(8)]
    TeacherInStore("urgent", reference).amend(stores[0], "first", lambda one: one.claim(0.0, DAY_S))
    together, claimed = threading.Barrier(8), []

    def begin(store):
        teacher = TeacherInStore("urgent", reference)
        together.wait()
        teacher.amend(store, "me", lambda one: claimed.append(one.claim(2 * DAY_S, DAY_S)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, stores))
    assert sorted(claimed) == [False] * 7 + [True]
    for store in stores:
        store.close()


def test_labels_without_repeats_are_no_reference(reference):
    """It is said what to run."""
    agreement = reference.record.self_agreement.model_copy(update={"n": 0, "agreed": 0})
    record = reference.record.model_copy(update={"self_agreement": agreement})
    with pytest.raises(BadSettings, match="--repeats"):
        TeacherInStore("urgent", type(reference)(reference.work_dir, record))


def test_the_task_file_says_off(make_task):
    """A bare `off` is YAML's false; without a word it is on, with a cap."""
    assert make_task(teacher_check=False).teacher_check is None
    assert make_task(teacher_check="off").teacher_check is None
    assert make_task().teacher_check == TeacherCheckSection()
