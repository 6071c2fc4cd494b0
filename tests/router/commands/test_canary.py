"""`raisehand canary teacher` against a real server: the same teacher, then another one."""

import asyncio
import json
import time

import pytest
from click.testing import CliRunner

from router.cli import main
from router.errors import BadSettings
from router.promise.watch import Watch, judge_of
from router.recheck.evidence import TeacherInStore
from router.recheck.reference import ReferenceReader
from router.shared.keeper import Keeper
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from router.testing import Fault, FaultServer
from students.errors import TeacherError
from students.runtime.bundle import find_bundle
from students.task import load_task


@pytest.fixture
async def teacher():
    """Calls everything calm."""
    async with FaultServer(["NO", "YES"]) as server:
        yield server


@pytest.fixture
def labelled(labelled_as, teacher):
    """A task with a certified bundle and the labels it was made of: all calm."""
    return labelled_as(teacher.url, "calm")


@pytest.fixture
def labelled_by_another(labelled_as, teacher):
    """The same, but the labels on record are those of one that called everything urgent."""
    return labelled_as(teacher.url, "urgent")


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


async def test_what_the_command_learnt_is_known_to_the_schedule(labelled, teacher):
    """One stream of answers: a router beside it sees them, and asks no sooner than is due."""
    await run(labelled, "--rows", "20")
    store = SqliteStore(labelled / ".raisehand" / STORE_FILE)
    reference = ReferenceReader(load_task(labelled / "task.yaml")).read()
    known = TeacherInStore("urgent", reference)
    Keeper(store).follow(known)
    assert known.figure("compared") == 20
    assert not known.due(time.time(), 3600.0)
    assert known.due(time.time() + 3600.0, 3600.0)
    store.close()


async def test_damaged_evidence_is_one_sentence(labelled):
    """What is known must not be forgotten in silence."""
    await run(labelled, "--rows", "5")
    store = SqliteStore(labelled / ".raisehand" / STORE_FILE)
    with store.transaction(write=True) as execute:
        execute("update evidence set evidence = %s where task = %s", ("{", "urgent#teacher"))
    store.close()
    done = await run(labelled, "--rows", "5")
    assert isinstance(done.exception, BadSettings)
    assert "may be forgotten" in str(done.exception)
