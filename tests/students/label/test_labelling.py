"""Labelling asks once, resumes, stays within its budget and knows what it cost."""

import asyncio
import itertools
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from costmodel.errors import UnknownPrice
from costmodel.money.pricing import NO_USAGE, TokenPrice, TokenUsage
from students.errors import (
    BadInputs,
    BudgetReached,
    TeacherDenied,
    TeacherGarbled,
    TeacherRejected,
    TeacherThrottled,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.label.inputs import make_inputs
from students.label.labelling import Progress, label_inputs, usual_repeats
from students.labels import LabelDistribution, LabelSchema
from students.task import Task
from students.teachers.bounds import usage_bound
from students.testing import ScriptedTeacher

SCHEMA = LabelSchema(("calm", "urgent"))
PRICE = TokenPrice(Decimal(1), Decimal(10), Decimal("0.1"), "$1 in, $10 out")
USAGE = TokenUsage(input_tokens=20, output_tokens=1)
EACH = Decimal(30) / 1_000_000


def _task(tmp_path, **teacher):
    section = {
        "mode": "chat",
        "base_url": "http://127.0.0.1:1",
        "model": "m",
        "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 10},
        **teacher,
    }
    return Task.model_validate(
        {
            "name": "t",
            "labels": list(SCHEMA.names),
            "teacher": section,
            "inputs": {"path": tmp_path / "none.csv"},
            "work_dir": tmp_path,
        }
    )


def _inputs(n=20):
    return make_inputs([f"text {i}" for i in range(n)], np.arange(n, dtype=np.int32) % 2)


def _answer(text):
    return (0.2, 0.7) if int(text.split()[1]) % 2 else LabelDistribution((0.6, 0.1), 0.3, True)


async def _no_sleep(seconds):
    await asyncio.sleep(0)


async def _label(tmp_path, teacher, n=20, **options):
    task = options.pop("task", None) or _task(tmp_path)
    defaults = {"price": PRICE, "repeats": 0, "sleep": _no_sleep}
    return await label_inputs(
        _inputs(n), teacher, task, tmp_path / "replies.sqlite", **{**defaults, **options}
    )


async def test_every_input_gets_its_soft_label_and_the_bill_is_exact(tmp_path):
    """Probabilities, other mass, truncation and gold stand in input order; usage × price is usd."""
    labelling = await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer, usage=USAGE))
    labelled = labelling.labelled
    assert labelled.texts == _inputs().texts
    assert labelled.teacher.tolist() == [0, 1] * 10
    assert labelled.gold.tolist() == [0, 1] * 10
    assert labelled.truncated.tolist() == [True, False] * 10
    assert np.allclose(labelled.other[:2], [0.3, 0.0])
    assert (labelling.asked, labelling.cached) == (20, 0)
    assert labelling.usage == TokenUsage(400, 20, 0, 20)
    assert labelling.usd == 20 * EACH


async def test_nothing_is_asked_twice(tmp_path):
    """A second run asks nothing and reports the same labels and the same bill."""
    first = await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer, usage=USAGE), repeats=5)
    teacher = ScriptedTeacher(SCHEMA, TeacherUnavailable("gone"), usage=USAGE)
    second = await _label(tmp_path, teacher, repeats=5)
    assert teacher.calls == []
    assert second.labelled.sha256 == first.labelled.sha256
    assert (second.asked, second.cached) == (0, 20)
    assert second.usd == first.usd == 25 * EACH
    assert second.self_agreement == first.self_agreement


async def test_another_teacher_is_asked_anew(tmp_path):
    """Trap: silent teacher upgrade. Another revision shares no answer with the old one."""
    await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer, revision="1"))
    teacher = ScriptedTeacher(SCHEMA, _answer, revision="2")
    assert (await _label(tmp_path, teacher)).asked == 20


@pytest.mark.parametrize(("n", "repeats"), [(1, 1), (300, 30), (2_000, 200), (10**6, 200)])
def test_a_small_pile_is_not_paid_for_twice(n, repeats):
    """A tenth of it tells how the teacher wavers; 200 of 300 were two thirds on the bill."""
    assert usual_repeats(n) == repeats


async def test_self_agreement_asks_again_past_the_cache(tmp_path):
    """Repeated questions reach the teacher, are billed, and a changed mind is counted."""
    asked = Counter()

    def fickle(text):
        asked[text] += 1
        return "urgent" if asked[text] == 1 else ("calm", "urgent")[int(text.split()[1]) % 2]

    labelling = await _label(
        tmp_path, ScriptedTeacher(SCHEMA, fickle, usage=USAGE), n=400, repeats=200
    )
    assert sum(asked.values()) == 600
    assert labelling.self_agreement.n == 200
    again = [int(text.split()[1]) % 2 for text, times in asked.items() if times == 2]
    assert labelling.self_agreement.agreed == sum(again)
    assert labelling.usd == 600 * EACH


async def test_the_budget_is_never_crossed(tmp_path):
    """However many calls are in flight, what is spent stays within max_usd; the rest is kept."""
    teacher = ScriptedTeacher(SCHEMA, _answer, usage=USAGE, latency_s=0.001)
    allowed = Decimal("0.005")
    with pytest.raises(BudgetReached, match=r"raise --max-usd"):
        await _label(tmp_path, teacher, n=400, max_usd=allowed)
    paid = len(teacher.calls) * EACH
    assert allowed / 2 < paid <= allowed
    again = ScriptedTeacher(SCHEMA, _answer, usage=USAGE)
    with pytest.raises(BudgetReached):
        await _label(tmp_path, again, n=400, max_usd=allowed)
    assert (len(teacher.calls) + len(again.calls)) * EACH <= allowed
    labelling = await _label(tmp_path, again, n=400, max_usd=Decimal(1))
    assert len(teacher.calls) + len(again.calls) == 400
    assert labelling.usd == 400 * EACH


async def test_a_call_that_broke_off_may_have_been_billed(tmp_path):
    """A time-out keeps its reservation as unconfirmed; a refused connection costs nothing."""
    teacher = ScriptedTeacher(
        SCHEMA, _answer, faults=[TeacherTimeout("late"), TeacherUnavailable("down", usage=NO_USAGE)]
    )
    labelling = await _label(tmp_path, teacher, n=2, task=_task(tmp_path, max_concurrency=1))
    most = usage_bound(_task(tmp_path))(["text 0"])
    assert labelling.unconfirmed_usd == PRICE.cost(most, datetime.now(UTC)).usd
    assert len(teacher.calls) == 4
    again = await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer), n=2)
    assert again.unconfirmed_usd == labelling.unconfirmed_usd


async def test_what_broken_calls_cost_counts_against_the_budget_of_the_next_run(tmp_path):
    """A garbled reply was served and is paid for: a resumed run has that much less to spend."""
    garbled = TeacherGarbled("x", usage=TokenUsage(4000, 0))
    teacher = ScriptedTeacher(SCHEMA, _answer, faults=[garbled], usage=USAGE)
    first = await _label(tmp_path, teacher, n=20, task=_task(tmp_path, max_concurrency=1))
    assert first.usd == Decimal("0.004") + 19 * EACH
    with pytest.raises(BudgetReached):
        await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer), n=21, max_usd=Decimal("0.0046"))


async def test_concurrency_stays_within_its_limit(tmp_path):
    """max_concurrency calls are in flight, never more."""
    teacher = ScriptedTeacher(SCHEMA, _answer, latency_s=0.002)
    await _label(tmp_path, teacher, n=60, task=_task(tmp_path, max_concurrency=6))
    assert teacher.peak == 6


async def test_a_429_pauses_everybody_and_halves_the_flow(tmp_path):
    """After Retry-After: 3 no call starts for 3 seconds, then fewer run side by side."""
    now = [0.0]
    starts = []

    async def sleep(seconds):
        now[0] += seconds
        await asyncio.sleep(0)

    class Timed(ScriptedTeacher):
        async def label(self, texts, *, timeout_s=None):
            starts.append(now[0])
            return await super().label(texts, timeout_s=timeout_s)

    teacher = Timed(SCHEMA, _answer, faults=[None] * 8 + [TeacherThrottled("slow", 3.0)])
    labelling = await _label(
        tmp_path,
        teacher,
        n=30,
        task=_task(tmp_path, max_concurrency=4),
        timer=lambda: now[0],
        sleep=sleep,
    )
    assert len(labelling.labelled) == 30
    before, after = [s for s in starts if s == 0.0], [s for s in starts if s > 0.0]
    assert len(starts) == 31
    assert len(before) >= 9
    assert min(after) >= 3.0


async def test_passing_faults_are_retried_with_jitter_and_lasting_ones_end_it(tmp_path):
    """A hiccup is retried after a growing random wait; a dead teacher ends the run, work kept."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    faults = [TeacherUnavailable("hiccup")] * 3
    teacher = ScriptedTeacher(SCHEMA, _answer, faults=faults)
    one = _task(tmp_path, max_concurrency=1)
    await _label(tmp_path, teacher, n=1, task=one, sleep=sleep)
    assert len(waits) == len(set(waits)) == 3
    assert all(wait <= 0.5 * 2**n for n, wait in enumerate(waits, 1))
    dead = ScriptedTeacher(
        SCHEMA, _answer, faults=itertools.chain([None] * 5, itertools.repeat(faults[0]))
    )
    with pytest.raises(TeacherUnavailable):
        await _label(tmp_path, dead, n=20, task=one, sleep=sleep)
    alive = ScriptedTeacher(SCHEMA, _answer)
    await _label(tmp_path, alive, n=20, task=one)
    assert len(alive.calls) == 14


async def test_a_batch_that_is_refused_is_asked_one_by_one(tmp_path):
    """One poisonous text is the only one without a usable answer; it stays traffic."""

    def picky(text):
        return TeacherRejected("too long") if text == "text 7" else _answer(text)

    teacher = ScriptedTeacher(SCHEMA, picky)
    task = _task(tmp_path, mode="classify", texts_per_call=8)
    labelling = await _label(tmp_path, teacher, task=task)
    assert labelling.rejected == 1
    assert labelling.rejection == "too long"
    assert labelling.rows.tolist() == list(range(20))
    assert np.flatnonzero(~labelling.labelled.usable).tolist() == [7]
    assert labelling.labelled.teacher.tolist() == [i % 2 if i != 7 else -1 for i in range(20)]
    assert max(map(len, teacher.calls)) == 8


async def test_a_teacher_that_refuses_most_ends_the_run(tmp_path):
    """When one in ten texts is refused something is wrong with the task, and it says what."""
    teacher = ScriptedTeacher(SCHEMA, TeacherGarbled("no logprobs"))
    with pytest.raises(TeacherGarbled, match="refused 10 of 10 texts; the last time: no logprobs"):
        await _label(tmp_path, teacher, n=400, task=_task(tmp_path, max_concurrency=1))
    assert len(teacher.calls) == 10


async def test_what_is_of_the_account_ends_the_run_at_once(tmp_path):
    """After 280 of 300 answers a dead key was asked 20 times more, and told as 20 refused texts."""
    dead = itertools.chain([None] * 280, itertools.repeat(TeacherDenied("no quota")))
    teacher = ScriptedTeacher(SCHEMA, _answer, faults=dead)
    with pytest.raises(TeacherDenied, match="no quota"):
        await _label(tmp_path, teacher, n=300, task=_task(tmp_path, max_concurrency=1))
    assert len(teacher.calls) == 281
    labelling = await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer), n=300)
    assert (labelling.cached, labelling.asked) == (280, 20)


async def test_a_teacher_that_names_no_label_ends_the_run_early(tmp_path):
    """300 answers that began with ** were bought, learnt and certified."""
    teacher = ScriptedTeacher(SCHEMA, LabelDistribution((0.004, 0.004), 0.992))
    with pytest.raises(TeacherRejected, match="20 of the first 20 answers are no label"):
        await _label(tmp_path, teacher, n=400, task=_task(tmp_path, max_concurrency=1))
    assert len(teacher.calls) == 20


async def test_some_answers_without_a_label_are_kept_as_such_and_not_asked_again(tmp_path):
    """They were paid for and they are traffic: what a refusal is, the cache knows, too."""

    def mostly(text):
        return LabelDistribution.refusal(2) if text == "text 7" else _answer(text)

    teacher = ScriptedTeacher(SCHEMA, mostly)
    for _ in range(2):
        labelling = await _label(tmp_path, teacher)
        assert (labelling.refused, labelling.rejected) == (1, 0)
        assert np.flatnonzero(~labelling.labelled.usable).tolist() == [7]
    assert len(teacher.calls) == 20


async def test_progress_says_how_far_and_how_dear(tmp_path):
    """Progress starts at what is known and ends at all questions with the whole bill."""
    await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer, usage=USAGE), n=5)
    seen: list[Progress] = []
    teacher = ScriptedTeacher(SCHEMA, _answer, usage=USAGE)
    await _label(tmp_path, teacher, n=20, repeats=4, progress=seen.append)
    assert (seen[0].done, seen[0].total, seen[0].usd) == (5, 24, 5 * EACH)
    assert (seen[-1].done, seen[-1].usd) == (24, 24 * EACH)


async def test_two_runs_on_one_cache_are_refused(tmp_path):
    """A second process would pay twice: it is told that one is running."""
    slow = asyncio.create_task(_label(tmp_path, ScriptedTeacher(SCHEMA, _answer, latency_s=0.5)))
    await asyncio.sleep(0.2)
    with pytest.raises(BadInputs, match="is another `raisehand label`"):
        await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer))
    slow.cancel()


async def test_prices_are_those_of_the_day_of_asking(tmp_path):
    """An answer keeps the price it was paid at when prices change later."""
    day = datetime(2026, 1, 1, tzinfo=UTC)

    class Rising:
        words = "rising"

        def cost(self, usage, at):
            from costmodel.money.pricing import Cost

            return Cost(Decimal(usage.requests * at.day), self.words)

    teacher = ScriptedTeacher(SCHEMA, _answer)
    await _label(tmp_path, teacher, n=3, price=Rising(), clock=lambda: day)
    later = await _label(tmp_path, teacher, n=4, price=Rising(), clock=lambda: day.replace(day=5))
    assert later.usd == 3 * 1 + 5


async def test_any_failure_is_raised_as_it_is(tmp_path):
    """An unknown price is one error with its own words, never a bundle of them."""

    class Unknown:
        words = "?"

        def cost(self, usage, at):
            raise UnknownPrice("no price is known for model 'x'")

    teacher = ScriptedTeacher(SCHEMA, _answer)
    with pytest.raises(UnknownPrice, match="no price is known"):
        await _label(tmp_path, teacher, price=Unknown())
    assert teacher.calls == []
