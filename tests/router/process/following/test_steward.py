"""What an operator tells one worker reaches all of them, also those that start later."""

from __future__ import annotations

import math
import shutil

import pytest

from router.errors import BadSettings, Conflict, Unauthorized, Unavailable
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.following.serving import Serving
from router.process.following.steward import Steward
from router.shared.keeper import Keeper
from router.shared.memory import Memory
from router.shared.sqlite_store import SqliteStore
from router.student.batcher import Batcher
from router.student.loaded import Model
from students.errors import BadBundle
from students.testing import ScriptedStudent

SPECS = [KeySpec(name=name, sha256=sha256_of(name)) for name in ("team", "other")]


class Worker:
    """A worker and its steward; bundles are scripted students, `bad` ones are not here."""

    def __init__(self, made, keeper, bad=()):
        self.made = made
        self.service = made.service
        self.served = made.service.tasks["urgent"]
        self.loaded = []
        self.bad = set(bad)
        self.service.keepers = {"urgent": keeper}
        self.service.bases = {"urgent": "bundle000001"}
        self.steward = Steward(self.service, self._load)

    def _load(self, task, bundle):
        self.loaded.append(bundle)
        if bundle in self.bad:
            raise BadBundle(f"bundle {bundle} is not here")
        student = ScriptedStudent(task.schema_, "urgent")
        return Model(bundle, student, (0.5, 0.5), Batcher(student))

    @property
    def serving(self):
        """What it serves."""
        return Serving.of(self.served)

    async def swap(self, bundle):
        """An operator swaps a bundle in here."""
        slot = self.served.pipeline.slot

        async def act():
            return slot.swap(await self.steward.loaded(self.served, bundle))

        await self.steward.change(self.served, act)

    async def raise_threshold(self, threshold):
        """An operator raises the threshold here."""

        async def act():
            self.served.pipeline.threshold = threshold

        await self.steward.change(self.served, act)

    async def look(self):
        """Read the rows, and follow."""
        self.service.keepers["urgent"].exchange()
        await self.steward.follow()


@pytest.fixture
def worker(rig, tmp_path):
    """Start workers with one store, each as a process of its own would be."""

    async def start(base="bundle000001", keys=None, **options):
        made = await rig(keys=keys)
        memory = Memory(tmp_path / "host")
        one = Worker(made, Keeper(SqliteStore(tmp_path / "work" / "s"), memory=memory), **options)
        one.service.bases = {"urgent": base}
        await one.look()
        return one

    return start


async def test_a_change_reaches_every_worker(worker):
    """Bundle and way back, canary, threshold; a model is loaded once, also when told twice."""
    first, second = await worker(), await worker()
    await first.swap("b")
    await first.swap("b")
    await first.raise_threshold(0.99)
    await second.look()
    assert second.serving == Serving("b", previous="bundle000001", threshold=0.99)
    assert (first.loaded, second.loaded) == (["b"], ["b"])
    slot = second.served.pipeline.slot

    async def canary():
        slot.set_canary(slot.loaded("bundle000001"), 0.25)

    await second.steward.change(second.served, canary)
    await first.look()
    assert first.serving == second.serving
    assert first.served.pipeline.slot.canary_share == 0.25
    versions = {w.steward.version("urgent") for w in (first, second)}
    assert versions == {3}


async def test_a_worker_that_starts_later_goes_where_the_others_are(worker):
    """With another bundle to start from it is another deployment, until the next change."""
    first = await worker()
    await first.swap("b")
    same, new = await worker(), await worker(base="bundle000002")
    assert same.serving.bundle == "b"
    assert new.serving.bundle == "bundle000001"
    assert new.made.count("raisehand_desired_skew") == 0
    await first.raise_threshold(1.0)
    await new.look()
    assert (new.serving.bundle, new.serving.threshold) == ("b", 1.0)
    again = await worker(base="bundle000002")
    assert again.serving.bundle == "b"


async def test_a_worker_that_cannot_follow_says_so(worker):
    """It goes on with what it has; skew and fault say that it is not where the others are."""
    first, second = await worker(), await worker(bad=["b"])
    await first.swap("b")
    await second.look()
    assert second.serving.bundle == "bundle000001"
    assert second.steward.fault("urgent") == "bundle b is not here"
    assert second.made.count("raisehand_desired_skew") == 1
    await second.look()
    assert second.loaded == ["b"]  # not tried at every look
    await first.swap("c")
    second.steward._tried = dict.fromkeys(second.steward._tried, -math.inf)
    second.bad.clear()
    await second.look()
    assert (second.serving.bundle, second.steward.fault("urgent")) == ("c", None)


async def test_the_way_back_may_be_lost(worker):
    """A bundle that is gone from one host keeps it from nothing else."""
    first, second = await worker(), await worker(bad=["b"])
    await first.swap("b")
    await first.swap("c")
    await second.look()
    assert second.serving == Serving("c")


async def test_what_is_refused_reaches_nobody(worker):
    """A bundle that cannot be loaded, a rollback without a way back."""
    first, second = await worker(bad=["x"]), await worker()
    with pytest.raises(BadBundle):
        await first.swap("x")

    async def rollback():
        first.served.pipeline.slot.rollback()

    with pytest.raises(BadSettings):
        await first.steward.change(first.served, rollback)
    await second.look()
    assert first.serving == second.serving == Serving("bundle000001")


async def test_without_the_store_nothing_is_changed(worker, tmp_path):
    """A change that would reach one worker alone is refused, and taken back."""
    first = await worker()
    await first.swap("b")
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "work").write_text("in the way")
    with pytest.raises(Unavailable, match="Nothing is changed"):
        await first.swap("c")
    assert first.serving == Serving("b", previous="bundle000001")
    assert first.served.pipeline.slot.loaded("c") is None
    assert (await first.made.post("/v1/classify", {"text": "help"})).status == 200


async def test_a_store_that_was_emptied_is_written_and_followed_again(worker, tmp_path):
    """Versions begin anew; workers go on with what they have until the next change."""
    first, second = await worker(), await worker()
    await first.swap("b")
    await first.raise_threshold(0.9)
    await second.look()
    shutil.rmtree(tmp_path / "work")
    for one in (first, second):
        await one.look()
        assert one.serving.bundle == "b"
    await first.swap("c")
    await second.look()
    assert first.serving == second.serving == Serving("c", previous="b", threshold=0.9)
    assert second.steward.version("urgent") == 1


async def test_of_two_operators_at_once_one_is_told_to_look_again(worker):
    """The row that was written first stays, and is followed."""
    first, second = await worker(), await worker()
    slot = first.served.pipeline.slot

    async def slow():
        await second.swap("b")
        return slot.swap(await first.steward.loaded(first.served, "c"))

    with pytest.raises(Conflict, match="meanwhile"):
        await first.steward.change(first.served, slow)
    await first.look()
    assert first.serving.bundle == second.serving.bundle == "b"


async def test_a_drain_is_of_this_router_alone(worker):
    """Another router, or the next one on this host, serves on."""
    first, other = await worker(), await worker()
    await first.steward.drain(True)
    await other.look()
    assert (first.service.draining, other.service.draining) == (True, False)


async def test_a_revoked_key_is_revoked_everywhere(worker):
    """Read again by one worker, gone in all; who starts with the old file finds it gone, too."""
    first, second = await worker(keys=KeyRing(SPECS)), await worker(keys=KeyRing(SPECS))
    for one in (first, second):
        one.service.specs = SPECS
        one.service._read_keys = lambda: SPECS[:1]
    first.service.reload_keys()
    await first.look()
    await second.look()
    for one in (first, second):
        with pytest.raises(Unauthorized):
            one.service.keys.identify([(b"x-api-key", b"other")])
    assert second.service.keys.identify([(b"x-api-key", b"team")]) is not None
    [event] = first.service.keepers["urgent"].store.events()
    assert (event.kind, event.reason, event.figures) == ("operator", "keys", {"keys": 1})
