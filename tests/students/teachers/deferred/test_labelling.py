"""Labels by batches: the same labels at another tariff, nothing asked twice, money kept."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal

import pytest
import yaml

from students.errors import BudgetReached, TeacherDenied
from students.label.cache import ReplyCache
from students.label.inputs import make_inputs
from students.label.labelling import label_inputs
from students.task import load_task
from students.teachers import make_teacher
from students.teachers.chat import ChatTeacher
from students.teachers.deferred import FILE, cancel_batches, deferred_price, make_deferred
from students.teachers.deferred.client import DeferredClient
from tests.waiting import PATIENCE_S

TEXTS = [f"{'help' if i % 3 else 'well'} {i}" for i in range(60)]


@pytest.fixture
def task(tmp_path, server):
    """Make a task whose teacher is the fake, by batches."""

    def make(**teacher):
        document = {
            "name": "urgent",
            "labels": ["urgent", "calm"],
            "teacher": {
                "mode": "chat", "base_url": server.url, "model": "fake-teacher", "batch": True,
                "prompt": {"user": "{text}"},
                "price": {"usd_per_mtok_input": 1000, "usd_per_mtok_output": 1000},
                "batch_price": {"usd_per_mtok_input": 500, "usd_per_mtok_output": 500},
                **teacher,
            },
            "inputs": {"path": "rows.csv"},
        }  # fmt: skip
        (tmp_path / "task.yaml").write_text(yaml.safe_dump(document))
        (tmp_path / "rows.csv").write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
        return load_task(tmp_path / "task.yaml")

    return make


async def _label(task, texts=TEXTS, *, max_usd=None, repeats=0, told=None):
    client = DeferredClient(
        task.teacher, task.work_dir / FILE, told=told, gather_s=0.05, polls_s=(0.02,)
    )
    teacher = ChatTeacher(task, client)
    try:
        return await label_inputs(
            make_inputs(texts),
            teacher,
            task,
            task.work_dir / "replies.sqlite",
            price=deferred_price(task.teacher),
            max_usd=max_usd,
            repeats=repeats,
        )
    finally:
        await teacher.aclose()


async def test_one_batch_gives_the_labels_that_live_calls_give(task, server):
    """Every text in one batch, the same soft labels, half the bill, in one cache."""
    one = task()
    done = await _label(one)
    assert server.batches._batches.keys() == {"batch_0"}
    assert server.served["batch_lines"] == len(TEXTS)
    live = make_teacher(one)
    [reply] = await live.label([TEXTS[1]])
    await live.aclose()
    assert tuple(map(float, done.labelled.probabilities[1])) == pytest.approx(
        reply.distribution.probabilities
    )
    assert live.descriptor == done.descriptor
    tokens = done.usage.input_tokens + done.usage.output_tokens
    assert done.usd == Decimal(tokens) / 2000
    assert done.unconfirmed_usd == 0


async def test_a_second_asking_is_a_second_question(task, server):
    """Self-agreement needs another answer, not the first one again."""
    done = await _label(task(), repeats=20)
    assert server.served["batch_lines"] == len(TEXTS) + 20
    assert (done.self_agreement.n, done.self_agreement.agreed) == (20, 20)


async def test_lines_that_failed_are_asked_again_and_no_other(task, server, turn):
    """Answers of a batch stand, whatever became of its other lines."""
    turn(batch_line_error_rate=0.3)
    done = await _label(task())
    assert len(done.labelled) == len(TEXTS)
    assert server.served["batch_lines"] == server.served["texts"] == len(TEXTS)
    assert done.unconfirmed_usd == 0


async def test_an_expired_batch_is_followed_by_one_of_the_rest(task, server, turn):
    """What a batch did not reach in time was not billed; it is asked in the next one."""
    turn(batch_expired_rate=0.5)
    states = []
    done = await _label(task(), told=lambda state: states.append(state.status))
    assert len(done.labelled) == len(TEXTS)
    assert server.served["batch_lines"] == len(TEXTS)
    assert "expired" in states
    assert (
        done.usd == Decimal(server.served["input_tokens"] + server.served["output_tokens"]) / 2000
    )


async def test_a_batch_that_is_refused_ends_labelling_with_its_reason(task, turn):
    """No line would fare better in another batch."""
    turn(batch_refused=True)
    with pytest.raises(TeacherDenied, match="was refused: the file is refused"):
        await _label(task())


async def test_money_is_kept_by_whole_batches(task, server):
    """What may be asked at once is what surely fits; the next batch is of what is left then."""
    one = task()
    with pytest.raises(BudgetReached):
        await _label(one, max_usd=Decimal("0.4"))
    billed = Decimal(server.served["input_tokens"] + server.served["output_tokens"]) / 2000
    assert Decimal("0.05") < billed <= Decimal("0.4")
    with ReplyCache(one.work_dir / "replies.sqlite", make_teacher(one).descriptor) as cache:
        assert cache.paid() == billed


async def test_a_cancelled_batch_keeps_what_it_answered(task, server, turn):
    """Cancelled at the provider, by whomever: the answers are kept, the rest is not asked on."""
    one = task()
    turn(batch_s=60)
    labelling = asyncio.create_task(_label(one))
    while not server.batches._batches:
        await asyncio.sleep(0.02)
    labelling.cancel()
    await asyncio.gather(labelling, return_exceptions=True)
    assert await cancel_batches(one) == ["batch_0"]
    with pytest.raises(TeacherDenied, match="was cancelled; what it answered is kept"):
        await _label(one)
    assert server.served["batch_lines"] == 30
    turn(batch_s=0)
    assert len((await _label(one)).labelled) == len(TEXTS)
    assert server.served["batch_lines"] == len(TEXTS)


def _command(folder):
    return subprocess.Popen(
        [sys.executable, "-c", "from router.cli import run; run()", "label", "--task",
         str(folder / "task.yaml"), "--max-usd", "3", "--repeats", "5"],
        env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_a_killed_label_finds_its_batch_again(task, server, turn, tmp_path):
    """Kill -9 while a batch runs, and again while the next one does: no line is asked twice."""
    task()
    turn(batch_s=4)
    for wanted in (1, 2):
        process = _command(tmp_path)
        while len(server.batches._batches) < wanted and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
    turn(batch_s=0)
    process = _command(tmp_path)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert server.served["batch_lines"] == len(TEXTS) + 5
    assert "possibly billed" not in said


async def test_a_batch_made_before_its_id_was_noted_is_adopted(task, server):
    """Killed between the provider's answer and the journal: its mark tells whose it is."""
    one = task()

    class Dies(DeferredClient):
        async def _follow(self, draft, batch):
            self._journal._db.execute("UPDATE batches SET id = NULL")
            raise asyncio.CancelledError

    client = Dies(one.teacher, one.work_dir / FILE, gather_s=0.05)
    asking = asyncio.create_task(ChatTeacher(one, client).label([TEXTS[0]]))
    while not server.batches._batches:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    asking.cancel()
    await client.aclose()
    await _label(one, TEXTS[:1])
    assert len(server.batches._batches) == 1
    assert server.served["batch_lines"] == 1


def test_the_tariff_of_batches_is_known_or_asked_for(task):
    """Amounts in a task file have no tariff of their own for batches, and none is made up."""
    from costmodel.errors import UnknownPrice
    from students.errors import BadTask

    with pytest.raises(UnknownPrice, match=r"give it as teacher\.batch_price"):
        deferred_price(task(batch_price=None).teacher)
    listed = task(batch_price=None, price={"model": "openai:gpt-4o-mini"})
    assert "batch" in deferred_price(listed.teacher).words
    with pytest.raises(BadTask, match=r"teacher\.batch is for chat and text mode"):
        make_deferred(task(mode="classify"))
