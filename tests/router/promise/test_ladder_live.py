"""The ladder in a router that serves: drift, fresh proof, drift back, a restart in between."""

import random
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner

from router.cli import main
from router.promise.audit import Auditor
from router.promise.watch import Watch, judged_by
from router.shared.keeper import Keeper
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from students.testing import ScriptedStudent, ScriptedTeacher

RUNGS = (0.92, 0.94, 0.96, 0.98)


def said(text):
    """The student calls everything calm, as sure as the text says."""
    sure = float(text.split()[1])
    return (sure, 1.0 - sure)


@pytest.fixture
async def live(rig, task, tmp_path):
    """A router whose bundle has four rungs and whose store is a file."""
    teacher = ScriptedTeacher(task.schema_, lambda text: text.split()[0])
    made = await rig(student=ScriptedStudent(task.schema_, said), teacher=teacher)
    keeper = Keeper(SqliteStore(tmp_path / "work" / STORE_FILE))
    judge = judged_by("system", 0.95, thresholds={"calm": 0.9, "urgent": 0.9}, rungs=RUNGS)
    watch = Watch("urgent", "bundle000001", ("calm", "urgent"), judge, keeper.put)
    keeper.follow(watch)
    made.service.keepers = {"urgent": keeper}
    made.pipeline.slot.current = replace(made.pipeline.slot.current, watch=watch)
    made.pipeline.auditor = Auditor(0.5, rng=random.Random(0))
    return made, keeper, watch


async def drive(live, rng, n, wrong_below=0.0):
    """Send n requests of random confidence; return the routes of the last hundred."""
    made, keeper, _ = live
    routes = []
    for i in range(n):
        sure = rng.uniform(0.9, 0.999)
        wrong = sure < wrong_below and rng.random() < 0.6
        text = f"{'urgent' if wrong else 'calm'} {sure:.4f}"
        answer = await made.post("/v1/classify", {"text": text})
        routes.append(answer.headers["x-raisehand-route"])
        await made.pipeline.auditor.close()
        if i % 5 == 0:
            assert keeper.exchange()
    return routes[-100:]


async def test_drift_raises_the_threshold_and_drift_back_lowers_it(live, task, tmp_path):
    """Not everything escalates; every step is an event with figures; both commands show it."""
    made, keeper, watch = live
    rng = random.Random(1)
    assert set(await drive(live, rng, 100)) == {"student"}
    routes = await drive(live, rng, 500, wrong_below=0.95)
    assert watch.threshold in RUNGS[2:]
    assert 0 < routes.count("student") < 100
    assert made.count("raisehand_promise_rung") in (3, 4)
    assert made.count("raisehand_promise_threshold") == watch.threshold
    assert made.count("raisehand_promise_broken") == 0
    shown = audit_of(task, tmp_path)
    assert f"the teacher answers below {watch.threshold:.4f} (broken: overall)" in shown
    assert set(await drive(live, rng, 1_500)) == {"student"}
    assert (watch.threshold, watch.alarmed, watch.proved) == (None, False, 1.0)
    events = keeper.store.events()
    assert [event.reason for event in events][:2] == ["promise_broken", "threshold_raised"]
    assert events[-1].reason == "watching"
    alarm = events[0].figures
    assert alarm["e_value"] >= alarm["alarm_at"] == 40
    assert alarm["disagreements"] > 0.05 * alarm["audits"]
    rungs = [event.figures["rung"] for event in events]
    assert rungs == sorted(rungs, reverse=True)
    assert "watching, rung 0" in audit_of(task, tmp_path)


async def test_a_restart_in_the_middle_forgets_no_rung(live, tmp_path):
    """Another process that opens the store serves at the same threshold."""
    *_, watch = live
    await drive(live, random.Random(1), 400, wrong_below=0.95)
    assert watch.floor > 0
    again = Watch("urgent", "bundle000001", (), watch.reopen, lambda audit: None)
    Keeper(SqliteStore(tmp_path / "work" / STORE_FILE)).follow(again)
    assert (again.floor, again.ruling.verdict.figures["proof"]) == (
        watch.floor,
        watch.ruling.verdict.figures["proof"],
    )


async def test_a_label_that_nobody_names_is_no_proof(rig, task, tmp_path):
    """After an alarm, a teacher that answers without a label does not bring the student back."""
    teacher = ScriptedTeacher(task.schema_, (0.5, 0.5))
    made = await rig(student=ScriptedStudent(task.schema_, said), teacher=teacher)
    keeper = Keeper(SqliteStore(tmp_path / STORE_FILE))
    judge = judged_by("system", 0.95, thresholds={"calm": 0.9, "urgent": 0.9}, rungs=RUNGS)
    watch = Watch("urgent", "bundle000001", ("calm", "urgent"), judge, keeper.put)
    keeper.follow(watch)
    made.pipeline.slot.current = replace(made.pipeline.slot.current, watch=watch)
    made.pipeline.auditor = Auditor(1.0)
    await drive((made, keeper, watch), random.Random(2), 200)
    assert watch.alarmed
    seen = [audit for _, audit in keeper.store.audits("urgent") if audit.escalated]
    assert len(seen) > 50
    assert all(audit.disagreed and audit.teacher_label is None for audit in seen)


def audit_of(task, tmp_path):
    """What `raisehand audit` prints."""
    path = tmp_path / "task.yaml"
    fields = task.model_dump(mode="json", exclude_unset=True) | {"work_dir": "work"}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    done = CliRunner().invoke(main, ["audit", "--task", str(path)], catch_exceptions=False)
    return done.output
