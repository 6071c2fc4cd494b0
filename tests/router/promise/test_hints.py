"""Hints: what moved is named, what is usual is not, and nobody calls it proof."""

import asyncio
import random
from dataclasses import replace

import numpy as np
import pytest

from router.promise.hints import EVERY, LOOKED_AT, MOVED, WINDOW, InputHints, stability_index
from router.promise.watch import Watch, judged_by
from router.shared.keeper import Keeper
from router.shared.records import Event
from router.shared.sqlite_store import SqliteStore
from students.labels import LabelSchema
from students.runtime import hashing
from students.runtime.linear import LinearStudent, LinearWeights
from students.runtime.usual import Usual, UsualSignal


@pytest.fixture
def usual():
    """Of 500 rows: confidences near one, texts of 20 to 80 characters, nine in ten kept."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(8, 1, 500)
    texts = ["x" * n for n in rng.integers(20, 80, 500)]
    return Usual.of(texts, confidence, confidence >= np.quantile(confidence, 0.1))


def drive(hints, windows, confidence, length):
    """See so many windows of requests."""
    for _ in range(windows * WINDOW):
        sure = confidence()
        hints.see(sure, "x" * length(), sure > 0.76)


def test_usual_traffic_is_no_news(usual):
    """Over twenty windows of the same traffic nothing moves."""
    told, rng = [], np.random.default_rng(1)
    hints = InputHints(usual, lambda *news: told.append(news))
    drive(hints, 20, lambda: float(rng.beta(8, 1)), lambda: int(rng.integers(20, 80)))
    assert told == []
    assert set(hints.indices) == {"confidence", "characters", "escalated"}
    assert max(hints.indices.values()) < MOVED


def test_what_moved_is_told_once_and_so_is_its_end(usual):
    """Longer texts of which the student is less sure; then the usual ones again."""
    told, rng = [], np.random.default_rng(2)
    hints = InputHints(usual, lambda moved, indices: told.append((moved, dict(indices))))
    drive(hints, 3, lambda: float(rng.beta(2, 1)), lambda: int(rng.integers(200, 400)))
    drive(hints, 3, lambda: float(rng.beta(8, 1)), lambda: int(rng.integers(20, 80)))
    assert [moved for moved, _ in told] == [("confidence", "characters", "escalated"), ()]
    assert told[0][1]["characters"] > 1


def test_the_index_is_the_published_sum():
    """(p - q) ln(p / q), but for half a request in each bin."""
    found = stability_index([500, 500], (0.9, 0.1))
    assert found == pytest.approx((0.5 - 0.9) * np.log(0.5 / 0.9) + 0.4 * np.log(5), rel=0.02)
    assert stability_index([900, 100], (0.9, 0.1)) == pytest.approx(0.0, abs=1e-6)


def test_ties_and_numbers_that_are_none_have_a_place():
    """Nine in ten rows are as sure as can be; NaN is in the lowest bin."""
    signal = UsualSignal.of(np.array([1.0] * 90 + [0.5] * 9 + [float("nan")]))
    assert sum(signal.shares) == pytest.approx(1.0)
    assert signal.place(float("nan")) == 0
    assert signal.place(1.0) == len(signal.shares) - 1


async def test_a_router_shows_and_records_them(rig, usual, tmp_path):
    """A metric by task and signal, and an event of kind hint; the answers are as before."""
    made = await rig()
    keeper = Keeper(SqliteStore(tmp_path / "shared.sqlite"))
    watch = Watch(
        "urgent", "bundle000001", ("calm", "urgent"), judged_by("system", 0.95), keeper.put
    )
    keeper.follow(watch)

    def changed(moved, indices):
        keeper.say(
            Event(at=0.0, task="urgent", bundle="bundle000001", kind="hint",
                  reason=", ".join(moved), actor="me", figures=indices)
        )  # fmt: skip

    watch.hints = InputHints(usual, changed)
    made.pipeline.slot.current = replace(made.pipeline.slot.current, watch=watch)
    rng = random.Random(0)
    for _ in range(WINDOW // 50):
        texts = ["help " * rng.randrange(100, 200) for _ in range(50)]
        await asyncio.gather(*(made.post("/v1/classify", {"text": text}) for text in texts))
    assert keeper.exchange()
    [event] = keeper.store.events()
    assert event.kind == "hint"
    assert "characters" in event.reason
    labels = {"task": "urgent", "signal": "characters"}
    assert made.count("raisehand_input_shift", labels) == event.figures["characters"] > MOVED
    keeper.close()


def test_texts_of_unknown_n_grams_are_named(usual):
    """Other words of the same length, of which the student is as sure: only this signal moves."""
    shares, rng = np.random.default_rng(3).uniform(0.1, 0.4, 500), np.random.default_rng(4)
    usual = usual.model_copy(update={"unknown": UsualSignal.of(shares)})
    told, between = [], [0.1, 0.4]
    hints = InputHints(
        usual, lambda *news: told.append(news), lambda text: float(rng.uniform(*between))
    )
    windows = 1 + LOOKED_AT * EVERY // WINDOW

    def see():
        sure, length = lambda: float(rng.beta(8, 1)), lambda: int(rng.integers(20, 80))
        drive(hints, 2 * windows, sure, length)

    see()
    assert told == []
    assert hints.indices["unknown"] < MOVED
    between[:] = 0.6, 1.0
    see()
    assert [moved for moved, _ in told] == [("unknown",)]


def test_a_student_knows_the_n_grams_that_it_learnt_from():
    """Of its own words it knows nearly all, of others next to nothing; without any it is 1."""
    slots = np.full(1 << 12, -1, np.int32)
    data, offsets = hashing.pack(["card payment"])
    known = np.unique(hashing.bag(data, offsets, 3, 4, slots.size)[0])
    slots[known] = np.arange(known.size)
    weights = LinearWeights.of(
        3, 4, slots, np.ones(known.size, np.float32), np.ones((known.size, 2), np.float32),
        np.zeros(2, np.float32),
    )  # fmt: skip
    student = LinearStudent(LabelSchema(("calm", "urgent")), weights)
    assert student.unknown_share("card payment") == 0.0
    assert student.unknown_share("zyx wvu qqq") > 0.8
    assert 0.2 < student.unknown_share("card zyxwvu") < 0.9
    assert student.unknown_share("") == 1.0
