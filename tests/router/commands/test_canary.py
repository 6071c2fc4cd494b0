"""`raisehand canary teacher` against a real server: the same teacher, then another one."""

import asyncio
import json

import numpy as np
import pytest
from click.testing import CliRunner

from router.cli import main
from router.promise.watch import Watch, judge_of
from router.shared.keeper import Keeper
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from router.testing import Fault, FaultServer
from students.errors import TeacherError
from students.label.labelled import LabelledSet
from students.label.record import (
    Agreement,
    LabellingRecord,
    LabelUsage,
    TeacherIdentity,
    save_labels,
)
from students.labels import LabelSchema
from students.runtime.bundle import find_bundle

ROWS = 60


@pytest.fixture
async def teacher():
    """Calls everything calm."""
    async with FaultServer(["NO", "YES"]) as server:
        yield server


@pytest.fixture
def labelled(folder_of, teacher):
    """A task with a certified bundle and the labels it was made of: all calm."""
    return labelled_as(folder_of, teacher, (1.0, 0.0))


@pytest.fixture
def labelled_by_another(folder_of, teacher):
    """The same, but the labels on record are those of one that called everything urgent."""
    return labelled_as(folder_of, teacher, (0.0, 1.0))


def labelled_as(folder_of, teacher, said):
    """Make the folder."""
    folder = folder_of({"mode": "classify", "base_url": teacher.url})
    hard = np.tile(np.array(said, np.float32), (ROWS, 1))
    zero = np.zeros(ROWS, np.float32)
    labels = LabelledSet(
        LabelSchema(("calm", "urgent")), tuple(f"text {i}" for i in range(ROWS)), hard, zero,
        np.zeros(ROWS, np.bool_), np.full(ROWS, -1, np.int32),
    )  # fmt: skip
    record = LabellingRecord(
        task="urgent",
        teacher=TeacherIdentity(
            mode="classify", model="big", revision="unknown", prompt_sha256="", parameters="{}"
        ),
        labels_sha256=labels.sha256, inputs_sha256="0", n=ROWS, usd="0.06", unconfirmed_usd="0",
        usage=LabelUsage(input_tokens=1, output_tokens=0, cached_input_tokens=0, requests=1),
        price="cheap", asked=ROWS, cached=0, rejected=0, refused=0, unusable=0,
        self_agreement=Agreement(n=100, agreed=100), label_mass=(0,) * 10, unsure=0, truncated=0,
        gold=None, seed=0, date="2026-01-01",
        splits={"train": [], "calibration": list(range(30)), "test": list(range(30, ROWS))},
    )  # fmt: skip
    save_labels(folder / ".raisehand", labels, record)
    return folder


async def run(folder, *options):
    """Run the command beside the server."""
    command = ["canary", "teacher", "--task", str(folder / "task.yaml"), "--json", *options]
    return await asyncio.to_thread(CliRunner().invoke, main, command)


async def test_the_same_teacher_changes_nothing(labelled, teacher):
    """What is asked is counted and priced; nights add up; no event."""
    for night in (1, 2):
        done = await run(labelled, "--rows", "20")
        assert done.exit_code == 0, done.output
        shown = json.loads(done.output)
        assert (shown["changed"], shown["asked"], shown["differed"]) == (False, 20, 0)
        assert shown["compared"] == 20 * night
        assert shown["usd"] > 0
    assert sum(teacher.seen.values()) == 40


async def test_another_teacher_voids_the_certificate(labelled_by_another):
    """Everything escalates in the routers that serve, with an event; audits cannot take it back."""
    labelled = labelled_by_another
    done = await run(labelled)
    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.exception
    bundle = find_bundle(labelled / ".raisehand")
    assert json.loads(done.output)["voided"] == bundle.id
    store = SqliteStore(labelled / ".raisehand" / STORE_FILE)
    [event] = store.events()
    assert (event.kind, event.reason, event.bundle) == ("verdict", "teacher_changed", bundle.id)
    assert event.figures["differed_share"] == 1.0
    keeper = Keeper(store)
    watch = Watch("urgent", bundle.id, (), judge_of(bundle.manifest), keeper.put)
    keeper.follow(watch)
    assert watch.alarmed
    assert watch.ruling.verdict.figures["status"] == "void"
    keeper.close()
    words = await asyncio.to_thread(
        CliRunner().invoke, main, ["audit", "--task", str(labelled / "task.yaml")]
    )
    assert "until another bundle is certified" in words.output


async def test_a_budget_bounds_the_rows(labelled):
    """At a tenth of a cent a label, half a cent asks about five rows."""
    done = await run(labelled, "--max-usd", "0.005")
    assert json.loads(done.output)["asked"] == 5


async def test_a_dead_teacher_is_no_other_teacher(labelled, teacher):
    """Nothing is compared, nothing is void, and the fault is said."""
    teacher.fault = Fault.ERROR
    done = await run(labelled, "--rows", "5")
    assert isinstance(done.exception, TeacherError)
    assert not (labelled / ".raisehand" / STORE_FILE).exists()
