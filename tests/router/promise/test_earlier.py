"""Evidence of earlier releases, one file for each worker, joins the stream of all of them."""

import pytest

from router.errors import BadSettings
from router.promise.earlier import taking_over
from router.promise.ladder import OVERALL
from router.promise.monitor import Monitor
from router.promise.watch import judged_by


def keep(folder, outcomes, false_alarm=0.025):
    """Write a worker's file as the last release did."""
    monitor = Monitor(0.05, false_alarm=false_alarm)
    for one in outcomes:
        monitor.observe(one, 0.01)
    folder.mkdir(parents=True)
    (folder / "abc.json").write_text(monitor.evidence.model_dump_json())
    return monitor


def taken(work_dir):
    """The judge of a bundle, once it has what is there."""
    judge = judged_by("strict", 0.95)(None)
    with taking_over(work_dir, "abc") as join:
        if join is not None:
            join(judge)
    return judge


def test_an_alarm_of_any_worker_is_one_of_all(tmp_path):
    """Whatever the others saw; the next start finds nothing to take over."""
    keep(tmp_path / "audits" / "worker-0-of-2", [False] * 60)
    keep(tmp_path / "audits" / "worker-1-of-2", [True] * 60)
    judge = taken(tmp_path)
    assert judge.verdict.escalate_all
    assert judge.ladder.accused == {OVERALL}
    assert not taken(tmp_path).verdict.escalate_all
    assert len(list(tmp_path.rglob("*.taken"))) == 2


def test_evidence_of_workers_is_joined_by_its_mean(tmp_path):
    """Which is an e-process, as each of them is; of one worker all of it goes on."""
    first = keep(tmp_path / "audits" / "worker-0-of-2", [False] * 60 + [True] * 2)
    second = keep(tmp_path / "audits" / "worker-1-of-2", [True] * 4)
    state = taken(tmp_path).ladder.monitors[OVERALL].state
    assert (state.audits, state.disagreements) == (66, 6)
    assert state.e_value == pytest.approx((first.state.e_value + second.state.e_value) / 2)
    (tmp_path / "one").mkdir()
    alone = keep(tmp_path / "one" / "audits", [True] * 3, 0.05)
    assert taken(tmp_path / "one").ladder.monitors[OVERALL].state == alone.state


def test_damaged_evidence_is_one_sentence(tmp_path):
    """An alarm must not be lost to a broken file, and the file stays."""
    (tmp_path / "audits").mkdir()
    (tmp_path / "audits" / "abc.json").write_text("{")
    with pytest.raises(BadSettings, match="an alarm may be forgotten"):
        taken(tmp_path)
    assert (tmp_path / "audits" / "abc.json").exists()


def test_without_files_there_is_nothing_to_take_over(tmp_path):
    """A new work_dir."""
    assert taken(tmp_path).ladder.monitors[OVERALL].state.audits == 0
    assert list(tmp_path.iterdir()) == []
