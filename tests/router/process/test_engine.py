"""The engine that workers share: the same answers, one batch for all, and nothing lost with it."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from router.bench.subject import make_student, make_task, make_texts
from router.process.engine import BEYOND_REPAIR, Engine, Proven
from router.settings import Settings
from router.student import engine_messages as wire
from router.student.batcher import Batcher
from router.student.remote_student import EngineGone, RemoteStudent
from students.errors import BadBundle
from students.labels import LabelSchema
from students.testing import ScriptedStudent
from tests.waiting import PATIENCE_S

SCHEMA = LabelSchema(("a", "b"))
BUNDLE = Path("/bundles/0123456789ab")


def said(text):
    """Sure of most texts, broken on 'poison', no number on 'nan'."""
    if "poison" in text:
        return RuntimeError("poison")
    return (float("nan"), float("nan")) if "nan" in text else (0.75, 0.25)


class Fragile(Engine):
    """An engine whose connections can be torn."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.writers = []

    async def _connected(self, reader, writer):
        self.writers.append(writer)
        await super()._connected(reader, writer)


class Rig:
    """An engine on a socket of its own; `loaded` says which bundles it read, in order."""

    def __init__(self, folder, student):
        self.address = folder / "engine.sock"
        self.loaded = []
        self._student = student
        self._file = folder / "engine.loaded"

    def _load(self, path):
        self.loaded.append(path)
        if path.name == "broken":
            raise BadBundle(f"{path} was altered; distil again")
        if path.name == "odd":
            raise KeyError("secret text")
        return self._student

    async def start(self):
        """Start an engine, as after a crash of the one before."""
        self.engine = Fragile(self._load, Settings(), self._file)
        self.server = await self.engine.start(self.address)

    async def crash(self):
        """Drop every connection and stop listening, as a killed process does."""
        bundles = self._file.read_text()
        self.server.close()
        self.address.unlink()
        for writer in self.engine.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)
        self._file.write_text(bundles)  # a killed process has no time to change them

    async def student(self, schema=SCHEMA, bundle=BUNDLE, answer_s=5.0):
        """Connect a worker's student."""
        return await asyncio.to_thread(
            RemoteStudent, schema, self.address, bundle, answer_s=answer_s
        )


@pytest.fixture
async def start(tmp_path):
    """Start an engine around a student."""
    rigs = []

    async def build(student=None):
        rig = Rig(tmp_path, student or ScriptedStudent(SCHEMA, said))
        await rig.start()
        rigs.append(rig)
        return rig

    yield build
    for rig in rigs:
        rig.server.close()
        for writer in rig.engine.writers:
            writer.transport.abort()


async def predict(student, *texts):
    """Ask as the batcher does: from a thread."""
    return await asyncio.to_thread(student.predict, texts)


async def test_two_workers_get_what_they_would_get_in_their_own_process(start, tmp_path):
    """Labels, confidences and probabilities of 600 texts are the same to the bit."""
    own = make_student(make_task("http://127.0.0.1:9", tmp_path).schema_)
    rig = await start(own)
    workers = [await rig.student(own.schema) for _ in range(2)]
    texts = make_texts(600, seed=5)
    halves = await asyncio.gather(*(predict(w, *texts[i::2]) for i, w in enumerate(workers)))
    for i, half in enumerate(halves):
        for ours, theirs in zip(half, own.predict(texts[i::2]), strict=True):
            assert (ours.label, ours.confidence) == (theirs.label, theirs.confidence)
            assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert rig.loaded == [BUNDLE]


async def test_what_is_out_of_scope_is_so_in_every_worker(start):
    """The engine says which texts are; a worker gives them the same reason as its own student."""

    class Narrow(ScriptedStudent):
        def predict(self, texts):
            return [
                replace(one, confidence=float("nan"), in_scope=False) if "odd" in text else one
                for text, one in zip(texts, super().predict(texts), strict=True)
            ]

    rig = await start(Narrow(SCHEMA, said))
    student = await rig.student()
    told = await asyncio.to_thread(student.predict, ["good", "odd", "good"])
    assert [one.in_scope for one in told] == [True, False, True]


async def test_a_batch_is_that_of_all_workers(start):
    """What three workers ask while the student is busy goes through it together."""
    gate = threading.Event()

    class Gated(ScriptedStudent):
        def predict(self, texts):
            if "first" in texts:
                gate.wait(PATIENCE_S)
            return super().predict(texts)

    student = Gated(SCHEMA, said)
    rig = await start(student)
    workers = [await rig.student() for _ in range(4)]
    asked = [asyncio.create_task(predict(workers[0], "first"))]
    await asyncio.sleep(0.05)
    asked += [asyncio.create_task(predict(w, f"w{i}")) for i, w in enumerate(workers[1:])]
    await asyncio.sleep(0.1)
    gate.set()
    await asyncio.gather(*asked)
    assert [sorted(call) for call in student.calls] == [["first"], ["w0", "w1", "w2"]]


@pytest.mark.parametrize(("text", "tokens"), [("", 1), ("x" * 39, 10), ("x" * 10_000, 64)])
async def test_tokens_are_counted_without_asking(start, text, tokens):
    """A token for four characters, up to what the bundle reads, which came with the connection."""

    class Short(ScriptedStudent):
        def token_count(self, text):
            return min(len(text) // 4 + 1, 64)

    student = await (await start(Short(SCHEMA, said))).student()
    assert student.token_count(text) == tokens


async def test_poison_fails_alone_through_the_workers_batcher(start):
    """One text of a worker breaks the student; its neighbours and the other worker are answered."""
    rig = await start()
    batchers = [Batcher(await rig.student()) for _ in range(2)]
    for batcher in batchers:
        batcher.start()
    texts = ["x", "poison", "nan", "y"]
    scored = await asyncio.gather(*(b.submit(t) for b in batchers for t in texts))
    assert [s.prediction is None for s in scored] == [False, True, False, False] * 2
    assert np.isnan(scored[2].prediction.confidence)
    for batcher in batchers:
        await batcher.close()


@pytest.mark.parametrize(
    ("bundle", "words"), [("broken", "altered; distil again"), ("odd", "KeyError")]
)
async def test_a_bundle_that_cannot_be_loaded_is_refused_with_the_reason(start, bundle, words):
    """The worker gets one sentence, without what an unforeseen error quotes; others go on."""
    rig = await start()
    other = await rig.student()
    with pytest.raises(BadBundle, match=words) as refused:
        await rig.student(bundle=Path("/bundles") / bundle)
    assert "secret" not in str(refused.value)
    assert len(await predict(other, "x")) == 1


async def test_a_bundle_is_loaded_once_and_forgotten_with_its_last_worker(start):
    """Two connections are one load; when both are gone the next one loads again."""
    rig = await start()
    first, second = await asyncio.gather(rig.student(), rig.student())
    assert rig.loaded == [BUNDLE]
    del first
    gc.collect()
    await predict(second, "x")
    assert (await rig.student()) is not None
    del second
    gc.collect()
    await asyncio.sleep(0.1)
    await rig.student()
    assert rig.loaded == [BUNDLE, BUNDLE]


async def test_without_an_engine_a_text_fails_at_once_and_is_answered_when_it_is_back(start):
    """Gone: an error in milliseconds. Back: it has loaded the bundle before it can be reached."""
    rig = await start()
    student = await rig.student()
    await predict(student, "x")
    await rig.crash()
    started = asyncio.get_running_loop().time()
    for _ in range(50):
        with pytest.raises(EngineGone):
            await predict(student, "x")
    assert asyncio.get_running_loop().time() - started < 1.0
    rig.loaded.clear()
    await rig.start()
    assert rig.loaded == [BUNDLE]
    assert [p.label for p in await predict(student, "x", "y")] == [0, 0]
    assert rig.loaded == [BUNDLE]


async def test_an_engine_replaced_while_nobody_asked_costs_no_text(start):
    """The old connection is dead, and the first text after the change is answered all the same."""
    rig = await start()
    student = await rig.student()
    await rig.crash()
    await rig.start()
    assert len(await predict(student, "x")) == 1


async def test_an_engine_that_hangs_is_given_up(start):
    """No answer in time: an error, and the next question is not given the answer to this one."""
    rig = await start(ScriptedStudent(SCHEMA, said, delay_s=0.3))
    student = await rig.student(answer_s=0.1)
    with pytest.raises(EngineGone, match="timed out"):
        await predict(student, "nan")
    await asyncio.sleep(0.4)
    patient = await rig.student(answer_s=5.0)
    [prediction] = await predict(patient, "x")
    assert prediction.confidence == 0.75


async def test_a_batch_that_runs_for_too_long_ends_the_engine(start):
    """Liveness of the engine is that of its students' batches."""
    rig = await start(ScriptedStudent(SCHEMA, said, delay_s=0.2))
    student = await rig.student()
    asking = asyncio.create_task(predict(student, "x"))
    await asyncio.sleep(0.1)
    assert rig.engine.alive()
    rig.engine._settings = Settings(stall_s=0.01)
    assert not rig.engine.alive()
    await asking


@pytest.mark.parametrize(("broken", "left"), [(False, []), (True, [BEYOND_REPAIR])])
def test_a_student_that_fails_on_everything_ends_the_process(broken, left):
    """A text that breaks the student is its own problem; failing on known texts is the engine's."""
    student = ScriptedStudent(SCHEMA, lambda text: RuntimeError("CUDA") if broken else said(text))
    codes = []
    with pytest.raises(RuntimeError):
        Proven(student, codes.append).predict(["x", "poison"])
    assert codes == left


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        wire.frame(wire.EngineRequest(["x"])),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_message_ends_its_connection_only(start, sent):
    """Garbage, half messages, questions before `Open`: hung up on; a worker beside goes on."""
    rig = await start()
    student = await rig.student()
    reader, writer = await asyncio.open_unix_connection(rig.address)
    writer.write(sent)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    assert len(await predict(student, "x")) == 1
