"""What keeps a bundle from serving a task: found out at the start, in one sentence."""

import time
from contextlib import closing
from decimal import Decimal

import pytest
from aiohttp import web

from router.errors import BadSettings, OverQuota
from router.keys.ring import KeySpec, sha256_of
from router.ledger.sqlite import SqliteLedger
from router.policy import Route
from router.process.compose import build_service, check_teachers, open_keepers
from router.process.load_model import load_model
from router.settings import Settings
from router.testing import sample_entry
from router.worker_share import Share
from students.task import Task, load_task
from students.testing import publish_unproved

TASK = "task.yaml"


def make_task(tmp_path, revision="1"):
    """A task whose teacher has this revision."""
    return Task.model_validate(
        {
            "name": "mail",
            "labels": ["calm", "urgent"],
            "teacher": {
                "mode": "classify",
                "base_url": "http://127.0.0.1:9",
                "model": "m",
                "revision": revision,
                "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
            },
            "inputs": {"path": "inputs.csv"},
            "work_dir": tmp_path,
        }
    )


def keeper_of(task):
    """The task's link to what all workers share."""
    return open_keepers([task], Settings())[task.name]


def publish_bundle(task, *, certified=True, labels=None):
    """Publish a bundle certified against the task's teacher; its weights are never read here."""
    return publish_unproved(
        task,
        "linear",
        {},
        lambda path: (path / "weights.safetensors").write_bytes(b"weights"),
        (0.5, 0.5) if certified else None,
        labels=labels,
    )


def test_a_teacher_upgrade_decertifies(tmp_path):
    """Another revision in the task file: refused, with both revisions named."""
    publish_bundle(make_task(tmp_path, "1"))
    task = make_task(tmp_path, "2")
    with pytest.raises(BadSettings, match="revision '1' is now '2'"):
        load_model(task, None, Settings(), keeper_of(task))


def test_a_bundle_without_a_certificate_does_not_serve(tmp_path):
    """Nothing proved, nothing served."""
    task = make_task(tmp_path)
    publish_bundle(task, certified=False)
    with pytest.raises(BadSettings, match="has no certificate"):
        load_model(task, None, Settings(), keeper_of(task))


def test_a_bundle_of_other_labels_does_not_serve(tmp_path):
    """Label order and names are part of the contract."""
    task = make_task(tmp_path)
    publish_bundle(task, labels=("urgent", "calm"))
    with pytest.raises(BadSettings, match="answers urgent, calm, task mail has calm, urgent"):
        load_model(task, None, Settings(), keeper_of(task))


async def test_a_cap_in_dollars_needs_the_price_of_every_model_passed_on(folder_of):
    """It would not hold for one of which nobody knows what it costs."""
    task = load_task(folder_of({"passthrough": ["big", "huge"], "max_usd_per_hour": 1}) / TASK)
    with pytest.raises(BadSettings, match="cannot hold for huge"):
        build_service([(task, None)], Settings())


async def test_a_restart_with_workers_locks_no_key_out(folder_of, tmp_path):
    """The day's spending belongs to the budget: what is left of it is there for any worker."""
    task = load_task(folder_of({}) / TASK)
    path = tmp_path / "l.sqlite"
    spent = sample_entry(
        at=time.time(), client="team", route=Route.TEACHER, teacher_usd=Decimal(12)
    )
    with closing(SqliteLedger(path)) as ledger:
        ledger.append(spent)

    def read_keys():
        return [KeySpec(name="team", sha256=sha256_of("s"), max_usd_per_day=Decimal(20))]

    def start(index):
        service = build_service(
            [(task, None)], Settings(), ledger_path=path, read_keys=read_keys,
            share=Share(index, 2, tmp_path),
        )  # fmt: skip
        service.start()
        return service, service.keys.identify([(b"x-api-key", b"s")])

    (one, key), (other, same) = start(0), start(1)
    for spends in (key, same, key):
        assert not spends.day.used_up
        spends.day.spend(Decimal(4) - spends.day.spent())
    await one.close()
    await other.close()
    again, key = start(1)
    assert key.day.used_up
    again.reload_keys()
    with pytest.raises(OverQuota):
        again.keys.identify([(b"x-api-key", b"s")]).admit()
    await again.close()


async def test_a_teacher_without_a_budget_is_not_even_tried(upstream, usual_task):
    """`max_usd_per_hour: 0` spends nothing, at the start neither."""
    asked = []

    async def handler(request):
        asked.append(request.path)
        raise web.HTTPServiceUnavailable

    url = await upstream(handler)
    for usd, tried in ((0, False), (None, True)):
        task = usual_task(teacher={"base_url": url, "max_usd_per_hour": usd})
        await check_teachers([task], strict=False)
        assert bool(asked) is tried
