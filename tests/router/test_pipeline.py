"""The story of one request: who answers, why, what it cost, and what is booked."""

from __future__ import annotations

import asyncio
import hashlib
import math
from decimal import Decimal

import pytest

from costmodel.money.pricing import NO_USAGE, TokenUsage
from router.errors import ClientGone, DeadlinePassed, Overloaded, Unavailable
from router.ledger.entry import Entry
from router.policy import Reason, Route
from router.request import Ask, Run, by_student
from router.settings import Settings
from router.student.batcher import Scored
from router.teacher.bill import Bill
from students.errors import TeacherGarbled, TeacherUnavailable
from students.labels import LabelDistribution, Prediction
from students.teachers.protocol import TeacherReply
from students.testing import ScriptedStudent, ScriptedTeacher

STUDENT_USD = Decimal("0.00000002")
TEACHER_USD = Decimal("0.000022")
"""20 tokens read at 1 USD, 1 written at 2 USD per million."""


def ask(text, **changes):
    """A request for one text."""
    return Ask(**({"text": text, "request_id": "r1", "surface": "classify"} | changes))


async def test_a_sure_student_answers(rig):
    """A confident answer is the student's, costs the student's price and never asks the teacher."""
    made = await rig()
    answer = await made.pipeline.answer(ask("help"))
    assert (answer.route, answer.reason) == (Route.STUDENT, Reason.CONFIDENT)
    assert made.pipeline.schema.names[answer.label] == "urgent"
    assert answer.usd == STUDENT_USD
    assert made.teacher.calls == []


@pytest.mark.parametrize(
    ("text", "reason", "confidence"),
    [
        ("maybe", Reason.LOW_CONFIDENCE, 0.55),
        ("nan", Reason.NAN_CONFIDENCE, None),
        ("poison", Reason.STUDENT_ERROR, None),
    ],
)
async def test_a_student_that_raises_its_hand_costs_both(rig, text, reason, confidence):
    """Unsure, NaN or broken: the teacher answers and both are paid."""
    made = await rig()
    answer = await made.pipeline.answer(ask(text))
    assert (answer.route, answer.reason) == (Route.TEACHER, reason)
    assert answer.usd == STUDENT_USD + TEACHER_USD
    assert answer.confidence == pytest.approx(confidence)
    assert made.teacher.calls == [(text,)]


class Narrow(ScriptedStudent):
    """Knows texts with help in them; all others are out of its scope."""

    def predict(self, texts):
        """As scripted, without confidence out of scope."""
        return [
            one if "help" in text else Prediction(one.label, math.nan, one.probabilities, False)
            for text, one in zip(texts, super().predict(texts), strict=True)
        ]


async def test_a_text_out_of_scope_goes_to_the_teacher(rig, task):
    """With its own reason; without a teacher's answer it is degraded, not refused."""
    made = await rig(student=Narrow(task.schema_, (0.02, 0.98)))
    answer = await made.pipeline.answer(ask("weather"))
    assert (answer.route, answer.reason) == (Route.TEACHER, Reason.OUT_OF_SCOPE)
    assert answer.confidence is None
    assert (await made.pipeline.answer(ask("help"))).route is Route.STUDENT
    alone = await made.pipeline.answer(ask("weather", student_only=True))
    assert (alone.route, alone.confidence) == (Route.STUDENT, None)
    made = await rig(student=Narrow(task.schema_, (0.02, 0.98)), teacher=failing(task.schema_))
    degraded = await made.pipeline.answer(ask("weather"))
    assert (degraded.route, degraded.label) == (Route.DEGRADED, 1)
    assert (await made.post("/v1/classify", {"text": "weather"})).json["confidence"] is None


async def test_every_answer_is_booked_in_full(rig):
    """The ledger has who, why, how sure, what it cost and a hash instead of the text."""
    made = await rig()
    await made.pipeline.answer(ask("maybe", key="team-a"))
    [entry] = made.ledger.entries
    assert (entry.task, entry.bundle, entry.surface) == ("urgent", "bundle000001", "classify")
    assert (entry.route, entry.reason, entry.label) == ("teacher", "low_confidence", "urgent")
    assert (entry.student_usd, entry.teacher_usd) == (STUDENT_USD, TEACHER_USD)
    assert (entry.input_tokens, entry.output_tokens, entry.attempts) == (20, 1, 1)
    assert entry.text_sha256 == made.pipeline.booking.text_hash("maybe")
    assert entry.text_sha256 != hashlib.sha256(b"maybe").hexdigest()
    assert entry.client == "team-a"
    assert entry.latency_ms > 0


async def test_each_value_of_an_entry_is_in_the_field_of_its_name(rig):
    """A request of which no two values are alike: entries are written by place."""
    made = await rig()
    booking, model = made.pipeline.booking, made.pipeline.slot.current
    asked = ask("maybe", key="team-a", request_id="r9", surface="chat")
    scored = Scored(Prediction(0, 0.75, (0.75, 0.25)), 0.1, 0.2)
    bill = Bill(2, TokenUsage(11, 7, 3), estimated=True, asked="wanted", model="answered")
    taught = LabelDistribution.hard(1, 2)
    run = Run(asked, model, 5.0, scored, bill, 6.0, 7.5, audited=True, taught=taught)
    run.propensity = 0.125
    booking.answered(run, by_student(run, scored, Route.DEGRADED, Reason.TEACHER_BUSY, None))
    [entry] = made.ledger.entries
    assert entry == Entry(
        at=entry.at,
        request_id="r9",
        task="urgent",
        bundle="bundle000001",
        surface="chat",
        route=Route.DEGRADED,
        reason=Reason.TEACHER_BUSY,
        label="calm",
        confidence=0.75,
        student_usd=STUDENT_USD,
        teacher_usd=booking.prices.usd(bill),
        input_tokens=11,
        output_tokens=7,
        attempts=2,
        latency_ms=2_500.0,
        degraded=True,
        audited=True,
        propensity=0.125,
        text_sha256=booking.text_hash("maybe"),
        client="team-a",
        cached_input_tokens=3,
        estimated=True,
        model="answered",
        student_label="calm",
        teacher_label="urgent",
    )
    assert abs(entry.at - booking.wall()) < 60


def failing(schema, error=None):
    """A teacher that always fails."""
    return ScriptedTeacher(schema, error or TeacherUnavailable("down", usage=NO_USAGE))


async def test_without_a_teacher_the_students_answer_is_degraded(rig, task):
    """on_failure student: the unsure answer comes back, flagged, with the teacher's fault."""
    made = await rig(teacher=failing(task.schema_, TeacherGarbled("noise", usage=NO_USAGE)))
    answer = await made.pipeline.answer(ask("maybe"))
    assert (answer.route, answer.reason) == (Route.DEGRADED, Reason.TEACHER_GARBLED)
    assert made.pipeline.schema.names[answer.label] == "calm"
    [entry] = made.ledger.entries
    assert entry.degraded
    assert entry.attempts == 1


async def test_without_a_teacher_the_request_fails_where_the_task_says_so(rig, make_task):
    """on_failure error: a 503 that names the reason, booked as refused with the student's cost."""
    task = make_task(teacher={"on_failure": "error"})
    made = await rig(task=task, teacher=failing(task.schema_))
    with pytest.raises(Unavailable, match="no answer") as caught:
        await made.pipeline.answer(ask("maybe"))
    [entry] = made.ledger.entries
    assert entry.route is Route.REFUSED
    assert caught.value.reason == entry.reason
    assert entry.student_usd == STUDENT_USD


@pytest.mark.parametrize("text", ["poison", "nan"])
async def test_a_broken_student_has_no_answer_to_degrade_to(rig, task, text):
    """Student and teacher both failed: 503, never a made-up label."""
    made = await rig(teacher=failing(task.schema_))
    with pytest.raises(Unavailable):
        await made.pipeline.answer(ask(text))


async def test_a_full_queue_is_refused_and_counted_not_booked(rig):
    """A refusal that cost nothing is in the metrics only: an overload does not fill the ledger."""
    made = await rig(settings=Settings(max_queue=1))
    results = await asyncio.gather(
        *[made.pipeline.answer(ask("help")) for _ in range(3)], return_exceptions=True
    )
    assert [type(r) for r in results[1:]] == [Overloaded, Overloaded]
    assert len(made.ledger.entries) == 1
    labels = {"task": "urgent", "route": "refused", "reason": "queue_full"}
    assert made.count("raisehand_requests_total", labels) == 2


async def test_a_deadline_that_passed_is_refused(rig):
    """No time left before the student: 504, reason deadline."""
    made = await rig()
    with pytest.raises(DeadlinePassed) as caught:
        await made.pipeline.answer(ask("help", deadline=made.pipeline.clock() - 1))
    assert caught.value.reason == Reason.DEADLINE
    assert made.student.calls == []


async def test_a_late_teacher_does_not_hold_the_request(rig, task):
    """The deadline goes on to the teacher: 30 ms given, the degraded answer is there in 60."""
    made = await rig(teacher=ScriptedTeacher(task.schema_, "urgent", latency_s=5))
    started = made.pipeline.clock()
    answer = await made.pipeline.answer(ask("maybe", deadline=started + 0.03))
    assert made.pipeline.clock() - started < 0.06
    assert (answer.route, answer.reason) == (Route.DEGRADED, Reason.TEACHER_TIMEOUT)


async def test_a_client_that_left_is_not_answered(rig):
    """A client known to be gone before the forward costs nothing."""
    made = await rig()
    client = made.Cycle([], disconnected=True)
    with pytest.raises(ClientGone):
        await made.pipeline.answer(ask("help", client=client))
    assert made.student.calls == []


async def test_a_cancelled_escalation_is_billed(rig, task):
    """A request cancelled while the teacher works leaves its cost in the ledger."""
    made = await rig(teacher=ScriptedTeacher(task.schema_, "urgent", latency_s=5))
    running = asyncio.create_task(made.pipeline.answer(ask("maybe")))
    while not made.teacher.calls:
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason) == (Route.REFUSED, Reason.ROUTER_STOPPED)
    assert entry.attempts == 1
    assert entry.estimated
    assert entry.teacher_usd > 0


class Purse:
    """A budget for so many escalations."""

    def __init__(self, left):
        self.left = left
        self.spent = []

    def allows(self, value):
        """Whether anything is left."""
        return self.left > 0

    def spend(self, usd):
        """Take one out."""
        self.left -= 1
        self.spent.append(usd)


async def test_the_escalation_budget_is_a_cap(rig):
    """When it is spent, unsure answers are degraded with that reason, sure ones go on."""
    made = await rig(budget=Purse(1))
    answers = [await made.pipeline.answer(ask(t)) for t in ("maybe", "maybe", "help")]
    assert [a.reason for a in answers] == [
        Reason.LOW_CONFIDENCE,
        Reason.ESCALATION_BUDGET,
        Reason.CONFIDENT,
    ]
    assert answers[1].route is Route.DEGRADED
    assert len(made.teacher.calls) == 1


@pytest.mark.parametrize(
    ("threshold", "route"),
    [(None, Route.STUDENT), (0.0, Route.STUDENT), (0.95, Route.STUDENT), (0.99, Route.TEACHER)],
)
async def test_a_request_may_ask_for_more_certainty_never_for_less(rig, threshold, route):
    """The higher of the certified and the requested threshold decides."""
    made = await rig()
    answer = await made.pipeline.answer(ask("help", threshold=threshold))
    assert answer.route is route
    low = await made.pipeline.answer(ask("maybe", threshold=0.0))
    assert low.route is Route.TEACHER


async def test_an_unknown_price_is_none_not_zero(rig):
    """An escalation to an unpriced teacher has no cost, is booked as such, and is counted."""
    made = await rig(teacher_price=None)
    answer = await made.pipeline.answer(ask("maybe"))
    assert answer.usd is None
    assert made.ledger.entries[0].teacher_usd is None
    assert made.count("raisehand_unpriced_requests_total", {"task": "urgent"}) == 1


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize(("text", "confidence"), [("help", 0.98), ("maybe", 0.55)])
async def test_the_student_alone_answers_whatever_its_confidence(rig, text, confidence, start):
    """However unsure, and after an alarm too: its answer, a reason of its own, no teacher."""
    made = await rig()
    made.pipeline.threshold = 1.0
    request = ask(text, student_only=True)
    if start:
        told = asyncio.get_running_loop().create_future()
        made.pipeline.start(request, told.set_result)
        answer = await told
    else:
        answer = await made.pipeline.answer(request)
    assert (answer.route, answer.reason) == (Route.STUDENT, Reason.STUDENT_ONLY)
    assert answer.confidence == pytest.approx(confidence)
    assert answer.usd == STUDENT_USD
    assert made.teacher.calls == []
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason, entry.attempts) == ("student", "student_only", 0)


@pytest.mark.parametrize("text", ["nan", "poison"])
async def test_a_student_that_fails_alone_is_no_answer(rig, text):
    """Nobody else may be asked, so the request is refused and booked as the student's error."""
    made = await rig()
    with pytest.raises(Unavailable, match="asks it alone"):
        await made.pipeline.answer(ask(text, student_only=True))
    assert made.teacher.calls == []
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason) == ("refused", "student_error")


NO_LABEL_SAID = [
    (LabelDistribution((0.3, 0.1), 0.6), Reason.TEACHER_UNSURE, "Well, it depends"),
    (LabelDistribution.refusal(2), Reason.TEACHER_REFUSED, "I cannot help with that."),
]


@pytest.mark.parametrize(("distribution", "reason", "words"), NO_LABEL_SAID)
async def test_an_answer_without_a_label_is_degraded_and_billed(
    rig, task, distribution, reason, words
):
    """A refusal was served as label 0 with probability .001, not degraded."""
    reply = TeacherReply(distribution, TokenUsage(20, 1), words, "{}")
    made = await rig(teacher=ScriptedTeacher(task.schema_, reply))
    answer = await made.pipeline.answer(ask("maybe"))
    assert (answer.route, answer.reason) == (Route.DEGRADED, reason)
    assert made.pipeline.schema.names[answer.label] == "calm"
    assert (answer.wording, answer.usd) == (words, STUDENT_USD + TEACHER_USD)
    [entry] = made.ledger.entries
    assert (entry.degraded, entry.reason, entry.attempts) == (True, reason, 1)


@pytest.mark.parametrize(("distribution", "reason", "words"), NO_LABEL_SAID)
async def test_an_answer_without_a_label_is_a_503_where_the_task_says_so(
    rig, make_task, distribution, reason, words
):
    """on_failure error: nobody gets a label that nobody meant."""
    task = make_task(teacher={"on_failure": "error"})
    reply = TeacherReply(distribution, TokenUsage(20, 1), words, "{}")
    made = await rig(task=task, teacher=ScriptedTeacher(task.schema_, reply))
    with pytest.raises(Unavailable) as caught:
        await made.pipeline.answer(ask("maybe"))
    assert caught.value.reason == reason


async def test_latency_counts_from_when_the_request_could_be_read(rig):
    """What waited in a socket has waited; the ledger says so."""
    made = await rig()
    received_at = made.pipeline.clock() - 5.0
    await made.pipeline.answer(ask("help", received_at=received_at))
    [entry] = made.ledger.entries
    assert entry.latency_ms >= 5_000
