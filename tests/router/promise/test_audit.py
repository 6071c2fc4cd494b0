"""Shadow audits: who is drawn, what it costs, what is told of it, what an alarm does."""

import random
import time
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from costmodel.money.pricing import NO_USAGE
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.keys.spending import SpendingLedger
from router.policy import Reason, Route
from router.promise.audit import Auditor
from router.promise.watch import Watch, judged_by
from router.request import Ask
from router.shared.keeper import Keeper
from router.shared.records import AuditVerdict
from router.shared.sqlite_store import SqliteStore
from router.teacher.budget import EscalationBudget
from router.teacher.token_bucket import TokenBucket
from students.errors import TeacherUnavailable
from students.labels import LabelDistribution
from students.testing import ScriptedTeacher


def ask(text, **changes):
    """A request for one text."""
    return Ask(**({"text": text, "request_id": "r1", "surface": "classify"} | changes))


class Seen:
    """What the store has of a bundle, and what is told to it."""

    def __init__(self, keeper, watch):
        self.keeper = keeper
        self.watch = watch

    def __getattr__(self, name):
        """A figure of the ruling, once all that waits is stored."""
        assert self.keeper.exchange()
        return self.watch.ruling.verdict.figures[name]

    def rule(self, **verdict):
        """Put a verdict in force."""
        ruling = self.watch.ruling
        self.watch.ruling = msgspec.structs.replace(ruling, verdict=AuditVerdict(**verdict))

    def rows(self):
        """The audits in the store."""
        assert self.keeper.exchange()
        return [audit for _, audit in self.keeper.store.audits("urgent")]


@pytest.fixture
def audited(rig, tmp_path):
    """Build rigs whose bundle is watched and whose traffic is audited."""

    async def build(*, rate=1.0, promise="system", **options):
        made = await rig(**options)
        keeper = Keeper(SqliteStore(tmp_path / "shared.sqlite"))
        judge = judged_by(promise, 0.95)
        watch = Watch("urgent", "bundle000001", ("calm", "urgent"), judge, keeper.put)
        keeper.follow(watch)
        made.service.keepers = {"urgent": keeper}
        made.pipeline.slot.current = replace(made.pipeline.slot.current, watch=watch)
        made.pipeline.auditor = Auditor(rate, rng=random.Random(0))
        return made, Seen(keeper, watch)

    return build


async def test_a_kept_answer_is_compared_after_the_client_has_it(audited):
    """The client gets the student's answer at the student's price; the audit comes later."""
    made, seen = await audited()
    answer = await made.pipeline.answer(ask("help"))
    assert (answer.route, answer.teacher_s) == (Route.STUDENT, 0.0)
    assert made.ledger.entries == []
    await made.pipeline.close()
    assert made.teacher.calls == [("help",)]
    assert (seen.audits, seen.disagreements) == (1, 0)


async def test_an_audit_is_booked_once_with_its_cost_and_propensity(audited):
    """One entry a request: the audit's tokens and dollars stand on the kept answer's entry."""
    made, _ = await audited()
    answer = await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason) == (Route.STUDENT, Reason.CONFIDENT)
    assert (entry.audited, entry.propensity, entry.attempts) == (True, 1.0, 1)
    assert entry.teacher_usd > 0
    assert answer.usd == entry.student_usd


async def test_audits_have_a_budget_of_their_own(audited):
    """Beyond it a drawn answer is booked without one; escalations do not pay for it."""
    made, _ = await audited()
    made.pipeline.auditor.budget = EscalationBudget(
        usd=TokenBucket(0.0001 / 3600, 60, time.monotonic())
    )
    for _ in range(3):
        await made.pipeline.answer(ask("help"))
        await made.pipeline.auditor.close()
    assert [entry.attempts for entry in made.ledger.entries] == [1, 0, 0]
    assert made.pipeline.auditor.lost == 2
    assert (await made.pipeline.answer(ask("maybe"))).route is Route.TEACHER


async def test_an_audit_is_the_operators_money(audited):
    """The key pays its answers; a client cannot be locked out by what it did not ask for."""
    ring = KeyRing([KeySpec(name="team", sha256=sha256_of("s"), max_usd_per_day=1)])
    made, _ = await audited()
    made.pipeline.booking.ledger = SpendingLedger(made.ledger, ring)
    await made.pipeline.answer(ask("help", key="team"))
    await made.pipeline.close()
    [entry] = made.ledger.entries
    assert entry.teacher_usd > 0
    assert ring.identify([(b"x-api-key", b"s")]).day.spent() == entry.student_usd


def test_audits_get_a_tenth_of_the_teachers_budget_unless_told(make_task):
    """Within `max_usd_per_hour`: where that is nothing, audits cost nothing."""

    def usd(total, given=None):
        task = make_task(teacher={"max_usd_per_hour": total}, audit_max_usd_per_hour=given)
        return task.audit_usd_per_hour

    assert (usd(None), usd(5), usd(5, 2), usd(0)) == (None, Decimal("0.5"), 2, 0)


async def test_both_sides_of_an_audit_are_booked(audited, task):
    """What the student and the teacher said; no label is an empty word, nobody asked is None."""
    made, _ = await audited()
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
    made, _ = await audited(teacher=silent)
    await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    assert made.ledger.entries[-1].teacher_label == ""


async def test_a_disagreement_is_counted(audited):
    """The teacher calls everything urgent; the student's calm answer disagrees."""
    made, seen = await audited()
    await made.pipeline.answer(ask("nice weather"))
    await made.pipeline.close()
    assert seen.disagreements == 1


async def test_an_audit_without_a_label_is_a_disagreement(audited, task):
    """As calibration rows without a usable answer are: what proves the promise also watches it."""
    none = LabelDistribution.refusal(2)
    made, seen = await audited(teacher=ScriptedTeacher(task.schema_, none))
    await made.pipeline.answer(ask("nice weather"))
    await made.pipeline.close()
    assert (seen.audits, seen.disagreements) == (1, 1)


@pytest.mark.parametrize(("promise", "audits"), [("system", 1), ("strict", 0)])
async def test_an_escalated_request_agrees_by_definition(audited, promise, audits):
    """It counts for the promise on all traffic, not for the one on kept answers, and is free."""
    made, seen = await audited(promise=promise)
    await made.pipeline.answer(ask("maybe"))
    await made.pipeline.close()
    assert (seen.audits, seen.disagreements) == (audits, 0)
    assert len(made.teacher.calls) == 1
    [entry] = made.ledger.entries
    assert (entry.audited, entry.propensity) == (False, 1.0)


async def test_draws_follow_the_rate_and_ignore_the_request_id(audited):
    """A client that repeats its request id cannot choose what is audited."""
    made, seen = await audited(rate=0.3)
    for _ in range(100):
        await made.pipeline.answer(ask("help", request_id="always the same"))
        await made.pipeline.auditor.close()
    assert 15 < seen.audits < 45
    assert len(made.ledger.entries) == 100


async def test_nothing_is_audited_at_rate_zero(audited):
    """No auditor, no shadow call, propensity 0."""
    made, _ = await audited()
    made.pipeline.auditor = None
    await made.pipeline.answer(ask("help"))
    assert made.teacher.calls == []
    assert made.ledger.entries[0].propensity == 0.0


async def test_a_dead_teacher_loses_audits_not_requests(audited, task):
    """The kept answer is served and booked; the audit is counted as lost."""
    teacher = ScriptedTeacher(task.schema_, TeacherUnavailable("down", usage=NO_USAGE))
    made, seen = await audited(teacher=teacher)
    answer = await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    assert answer.route is Route.STUDENT
    assert (made.pipeline.auditor.lost, seen.audits) == (1, 0)
    [entry] = made.ledger.entries
    assert (entry.audited, entry.propensity) == (False, 1.0)
    assert made.count("raisehand_audits_lost_total") == 1


async def test_more_audits_than_slots_are_lost_and_booked(audited, task):
    """Audits never pile up: beyond the slots the request is booked as if not compared."""
    teacher = ScriptedTeacher(task.schema_, "urgent", latency_s=0.05)
    made, seen = await audited(teacher=teacher)
    made.pipeline.auditor = Auditor(1.0, max_in_flight=2)
    for _ in range(5):
        await made.pipeline.answer(ask("help"))
    await made.pipeline.close()
    assert (made.pipeline.auditor.lost, seen.audits) == (3, 2)
    assert len(made.ledger.entries) == 5


async def test_a_broken_promise_escalates_everything(audited):
    """Fail-safe: after the alarm the teacher answers what the student would have kept."""
    made, seen = await audited()
    while not seen.watch.alarmed:
        await made.pipeline.answer(ask("nice weather"))
        await made.pipeline.auditor.close()
        seen.keeper.exchange()
    answer = await made.pipeline.answer(ask("help"))
    assert (answer.route, answer.reason) == (Route.TEACHER, Reason.PROMISE_BROKEN)
    assert made.count("raisehand_promise_broken") == 1
    assert made.count("raisehand_promise_rung") == made.count("raisehand_promise_threshold") == 1
    assert made.count("raisehand_rung_evidence_ratio") < 1
    assert made.count("raisehand_audit_e_value") >= 40


async def test_another_bundle_starts_with_its_own_evidence(audited):
    """A swap ends the alarm of the bundle before; rolling back to that one brings it back."""
    made, seen = await audited()
    seen.rule(escalate_all=True)
    slot = made.pipeline.slot
    broken = slot.current
    other = Watch("urgent", "bundle000002", (), judged_by("system", 0.95), seen.keeper.put)
    slot.current, made.pipeline.auditor = replace(broken, watch=other), None
    assert (await made.pipeline.answer(ask("help"))).route is Route.STUDENT
    slot.current = broken
    assert (await made.pipeline.answer(ask("help"))).route is Route.TEACHER


async def test_a_ruling_may_ask_for_more_certainty(audited):
    """A threshold by the audits is asked for beside the operator's and the client's; most wins."""
    made, seen = await audited()
    made.pipeline.auditor = None
    seen.rule(threshold=0.975)
    assert (await made.pipeline.answer(ask("nice weather"))).route is Route.TEACHER
    assert (await made.pipeline.answer(ask("help"))).route is Route.STUDENT
    made.pipeline.threshold = 0.99
    assert (await made.pipeline.answer(ask("help"))).route is Route.TEACHER


async def test_an_audit_says_all_that_a_judge_may_ask(audited):
    """Kept or escalated, both answers, how sure, how likely drawn; of a failed student nothing."""
    made, seen = await audited(rate=1.0)
    for text in ("help", "nice weather", "maybe", "poison", "nan"):
        await made.pipeline.answer(ask(text, request_id=text))
        await made.pipeline.auditor.close()
    found = {
        a.request_id: (a.escalated, a.student_label, a.confidence, a.teacher_label, a.disagreed)
        for a in seen.rows()
    }
    assert found == {
        "help": (False, "urgent", pytest.approx(0.98), "urgent", False),
        "nice weather": (False, "calm", pytest.approx(0.97), "urgent", True),
        "maybe": (True, "calm", pytest.approx(0.55), "urgent", True),
        "poison": (True, None, None, "urgent", True),
        "nan": (True, found["nan"][1], None, "urgent", found["nan"][1] != "urgent"),
    }
    assert {(a.task, a.bundle, a.propensity) for a in seen.rows()} == {
        ("urgent", "bundle000001", 1.0)
    }
    assert (seen.audits, seen.disagreements) == (5, 1)


async def test_what_the_student_alone_was_asked_is_no_evidence(audited):
    """Not audited at any rate, answered after an alarm too: such requests are no sample of it."""
    made, seen = await audited()
    seen.rule(escalate_all=True)
    answer = await made.pipeline.answer(ask("help", student_only=True))
    await made.pipeline.close()
    assert (answer.route, answer.reason) == (Route.STUDENT, Reason.STUDENT_ONLY)
    assert made.teacher.calls == []
    assert seen.audits == 0
    assert made.ledger.entries[0].propensity == 0.0
