"""Shadow audits: who is drawn, what it costs, what an alarm does, what a restart remembers."""

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from costmodel.money.pricing import NO_USAGE
from router.errors import BadSettings
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.keys.spending import SpendingLedger
from router.policy import Reason, Route
from router.promise.audit import SAVE_EVERY, Auditor, Watch, open_watch
from router.promise.monitor import Monitor
from router.request import Ask
from router.teacher.budget import EscalationBudget
from students.errors import TeacherUnavailable
from students.labels import LabelDistribution
from students.testing import ScriptedTeacher


def ask(text, **changes):
    """A request for one text."""
    return Ask(**({"text": text, "request_id": "r1", "surface": "classify"} | changes))


async def audited(rig, *, rate=1.0, promise="system", path=None, alpha=0.05, **options):
    """Build a rig whose bundle is watched and whose traffic is audited."""
    made = await rig(**options)
    watch = Watch("bundle000001", Monitor(alpha), promise, path)
    made.pipeline.slot.current = replace(made.pipeline.slot.current, watch=watch)
    made.pipeline.auditor = Auditor(rate, rng=random.Random(0))
    return made, watch


async def test_a_kept_answer_is_compared_after_the_client_has_it(rig):
    """The client gets the student's answer at the student's price; the audit comes later."""
    made, watch = await audited(rig)
    answer = await made.pipeline.answer(ask("help"))
    assert (answer.route, answer.teacher_s) == (Route.STUDENT, 0.0)
    assert made.ledger.entries == []
    await made.pipeline.close()
    assert made.teacher.calls == [("help",)]
    assert (watch.monitor.state.audits, watch.monitor.state.disagreements) == (1, 0)


async def test_an_audit_is_booked_once_with_its_cost_and_propensity(rig):
    """One entry a request: the audit's tokens and dollars stand on the kept answer's entry."""
    made, _ = await audited(rig)
    answer = await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason) == (Route.STUDENT, Reason.CONFIDENT)
    assert (entry.audited, entry.propensity, entry.attempts) == (True, 1.0, 1)
    assert entry.teacher_usd > 0
    assert answer.usd == entry.student_usd


async def test_audits_have_a_budget_of_their_own(rig):
    """Beyond it a drawn answer is booked without one; escalations do not pay for it."""
    made, _ = await audited(rig)
    made.pipeline.auditor.budget = EscalationBudget(usd_per_hour=Decimal("0.0001"))
    for _ in range(3):
        await made.pipeline.answer(ask("help"))
        await made.pipeline.auditor.close()
    assert [entry.attempts for entry in made.ledger.entries] == [1, 0, 0]
    assert made.pipeline.auditor.lost == 2
    assert (await made.pipeline.answer(ask("maybe"))).route is Route.TEACHER


async def test_an_audit_is_the_operators_money(rig):
    """The key pays its answers; a client cannot be locked out by what it did not ask for."""
    ring = KeyRing([KeySpec(name="team", sha256=sha256_of("s"), max_usd_per_day=1)])
    made, _ = await audited(rig)
    made.pipeline.booking.ledger = SpendingLedger(made.ledger, ring)
    await made.pipeline.answer(ask("help", key="team"))
    await made.pipeline.close()
    [entry] = made.ledger.entries
    assert entry.teacher_usd > 0
    assert ring.identify([(b"x-api-key", b"s")]).spent_today() == entry.student_usd


def test_audits_get_a_tenth_of_the_teachers_budget_unless_told(make_task):
    """Within `max_usd_per_hour`: where that is nothing, audits cost nothing."""

    def usd(total, given=None):
        task = make_task(teacher={"max_usd_per_hour": total}, audit_max_usd_per_hour=given)
        return task.audit_usd_per_hour

    assert (usd(None), usd(5), usd(5, 2), usd(0)) == (None, Decimal("0.5"), 2, 0)


async def test_both_sides_of_an_audit_are_booked(rig, task):
    """What the student and the teacher said; no label is an empty word, nobody asked is None."""
    made, _ = await audited(rig)
    await made.pipeline.answer(ask("fine"))
    await made.pipeline.answer(ask("maybe"))
    made.pipeline.auditor = None
    await made.pipeline.answer(ask("fine"))
    await made.pipeline.close()
    said = {(e.audited, e.student_label, e.teacher_label) for e in made.ledger.entries}
    assert said == {
        (True, "calm", "urgent"), (False, "calm", "urgent"), (False, "calm", None),
    }  # fmt: skip
    silent = ScriptedTeacher(task.schema_, LabelDistribution.refusal(2))
    made, _ = await audited(rig, teacher=silent)
    await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    assert made.ledger.entries[-1].teacher_label == ""


async def test_a_disagreement_is_counted(rig):
    """The teacher calls everything urgent; the student's calm answer disagrees."""
    made, watch = await audited(rig)
    await made.pipeline.answer(ask("nice weather"))
    await made.pipeline.close()
    assert watch.monitor.state.disagreements == 1


async def test_an_audit_without_a_label_is_a_disagreement(rig, task):
    """As calibration rows without a usable answer are: what proves the promise also watches it."""
    none = LabelDistribution.refusal(2)
    made, watch = await audited(rig, teacher=ScriptedTeacher(task.schema_, none))
    await made.pipeline.answer(ask("nice weather"))
    await made.pipeline.close()
    assert (watch.monitor.state.audits, watch.monitor.state.disagreements) == (1, 1)


@pytest.mark.parametrize(("promise", "audits"), [("system", 1), ("strict", 0)])
async def test_an_escalated_request_agrees_by_definition(rig, promise, audits):
    """It counts for the promise on all traffic, not for the one on kept answers, and is free."""
    made, watch = await audited(rig, promise=promise)
    await made.pipeline.answer(ask("maybe"))
    await made.pipeline.close()
    assert (watch.monitor.state.audits, watch.monitor.state.disagreements) == (audits, 0)
    assert len(made.teacher.calls) == 1
    [entry] = made.ledger.entries
    assert (entry.audited, entry.propensity) == (False, 1.0)


async def test_draws_follow_the_rate_and_ignore_the_request_id(rig):
    """A client that repeats its request id cannot choose what is audited."""
    made, watch = await audited(rig, rate=0.3)
    for _ in range(100):
        await made.pipeline.answer(ask("help", request_id="always the same"))
        await made.pipeline.auditor.close()
    assert 15 < watch.monitor.state.audits < 45
    assert len(made.ledger.entries) == 100


async def test_nothing_is_audited_at_rate_zero(rig):
    """No auditor, no shadow call, propensity 0."""
    made, _ = await audited(rig)
    made.pipeline.auditor = None
    await made.pipeline.answer(ask("help"))
    assert made.teacher.calls == []
    assert made.ledger.entries[0].propensity == 0.0


async def test_a_dead_teacher_loses_audits_not_requests(rig, task):
    """The kept answer is served and booked; the audit is counted as lost."""
    teacher = ScriptedTeacher(task.schema_, TeacherUnavailable("down", usage=NO_USAGE))
    made, watch = await audited(rig, teacher=teacher)
    answer = await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    assert answer.route is Route.STUDENT
    assert (made.pipeline.auditor.lost, watch.monitor.state.audits) == (1, 0)
    [entry] = made.ledger.entries
    assert (entry.audited, entry.propensity) == (False, 1.0)
    assert made.count("raisehand_audits_lost_total") == 1


async def test_more_audits_than_slots_are_lost_and_booked(rig, task):
    """Audits never pile up: beyond the slots the request is booked as if not compared."""
    teacher = ScriptedTeacher(task.schema_, "urgent", latency_s=0.05)
    made, watch = await audited(rig, teacher=teacher)
    made.pipeline.auditor = Auditor(1.0, max_in_flight=2)
    for _ in range(5):
        await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    assert (made.pipeline.auditor.lost, watch.monitor.state.audits) == (3, 2)
    assert len(made.ledger.entries) == 5


async def test_a_broken_promise_escalates_everything(rig):
    """Fail-safe: after the alarm the teacher answers what the student would have kept."""
    made, watch = await audited(rig)
    while not watch.alarmed:
        await made.pipeline.answer(ask("nice weather"))
        await made.pipeline.auditor.close()
    answer = await made.pipeline.answer(ask("help"))
    assert (answer.route, answer.reason) == (Route.TEACHER, Reason.PROMISE_BROKEN)
    assert made.count("raisehand_promise_broken") == 1
    assert made.count("raisehand_audit_e_value") >= 20


async def test_another_bundle_starts_with_its_own_evidence(rig):
    """A swap ends the alarm of the bundle before; rolling back to that one brings it back."""
    made, watch = await audited(rig)
    watch.monitor.alarmed = True
    slot = made.pipeline.slot
    broken = slot.current
    slot.current = replace(broken, watch=Watch("bundle000002", Monitor(0.05), "system"))
    assert (await made.pipeline.answer(ask("help"))).route is Route.STUDENT
    slot.current = broken
    assert (await made.pipeline.answer(ask("help"))).route is Route.TEACHER


def test_an_alarm_survives_a_restart(tmp_path):
    """The evidence is on disk the moment it alarms; the next process escalates from the start."""
    watch = open_watch(tmp_path / "audits", "abc", "strict", 0.95)
    while not watch.alarmed:
        watch.audited(True, 0.01)
    assert open_watch(tmp_path / "audits", "abc", "strict", 0.95).alarmed
    assert not open_watch(tmp_path / "audits", "other", "strict", 0.95).alarmed


def test_evidence_is_saved_now_and_then(tmp_path):
    """A crash forgets fewer audits than a block."""
    watch = open_watch(tmp_path, "abc", "strict", 0.95)
    for _ in range(SAVE_EVERY + 7):
        watch.audited(False, 0.01)
    assert open_watch(tmp_path, "abc", "strict", 0.95).monitor.state.audits == SAVE_EVERY
    watch.save()
    assert open_watch(tmp_path, "abc", "strict", 0.95).monitor.state.audits == SAVE_EVERY + 7


def test_damaged_evidence_is_one_sentence(tmp_path):
    """An alarm must not be lost to a broken file."""
    (tmp_path / "abc.json").write_text("{")
    with pytest.raises(BadSettings, match="an alarm may be forgotten"):
        open_watch(tmp_path, "abc", "strict", 0.95)


def test_evidence_that_cannot_be_saved_fails_no_request(tmp_path, caplog):
    """A full or read-only disk is logged; the monitor goes on in memory."""
    (tmp_path / "file").write_text("")
    watch = Watch("abc", Monitor(0.05), "strict", tmp_path / "file" / "abc.json")
    for _ in range(SAVE_EVERY):
        watch.audited(False, 0.01)
    assert "cannot be saved" in caplog.text
    assert watch.monitor.state.audits == SAVE_EVERY


async def test_what_the_student_alone_was_asked_is_no_evidence(rig):
    """Not audited at any rate, answered after an alarm too: such requests are no sample of it."""
    made, watch = await audited(rig)
    watch.monitor.alarmed = True
    answer = await made.pipeline.answer(ask("help", student_only=True))
    await made.pipeline.close()
    assert (answer.route, answer.reason) == (Route.STUDENT, Reason.STUDENT_ONLY)
    assert made.teacher.calls == []
    assert watch.monitor.state.audits == 0
    assert made.ledger.entries[0].propensity == 0.0
