"""Which texts a running router keeps: none unless it was agreed, then the ones that teach."""

from __future__ import annotations

import asyncio
import json

import aiohttp
from click.testing import CliRunner

from router.cli import main
from router.testing import FaultServer
from students.task import load_task
from students.texts.cipher import open_cipher
from students.texts.store import TEXTS_FILE, read_texts

CONSENT = {"basis": "contract with the customer", "inputs_rate": 1.0}


async def _served(serve, folder_of, publish_bundle, audit_rate, **task):
    async with FaultServer(["calm", "urgent"]) as teacher:
        at = folder_of(
            {
                "mode": "classify", "base_url": teacher.url, "answers": {},
                "max_concurrency": 64, "timeout_s": 60,
            },
            audit_rate=audit_rate,
            **task,
        )  # fmt: skip
        publish_bundle(at, "calm")
        router = await asyncio.to_thread(serve, at=at)
        async with aiohttp.ClientSession(router.url) as client:
            for i, more in enumerate([{}, {"threshold": 1.0}, {"student_only": True}]):
                body = {"text": f"text {i} of ada@example.org", **more}
                head = {"x-request-id": f"r-{i}"}
                async with client.post("/v1/classify", json=body, headers=head) as response:
                    assert response.status == 200
            async with client.get("/metrics") as response:
                metrics = await response.text()
        await asyncio.to_thread(router.stop)
    return at, metrics


def _kept(at):
    """What is kept, by request id."""
    task = load_task(at / "task.yaml")
    cipher = open_cipher(task.store_texts, task.work_dir)
    return {one.request_id: one for one in read_texts(task.work_dir / TEXTS_FILE, cipher, "urgent")}


async def test_no_text_is_kept_unless_it_was_agreed(serve, folder_of, publish_bundle):
    """Off is off: no file of texts, and no word of them in any file."""
    at, _ = await _served(serve, folder_of, publish_bundle, 1.0)
    files = [file for file in (at / ".raisehand").rglob("*") if file.is_file()]
    assert not any(file.name.startswith("texts.sqlite") for file in files)
    assert not any(b"ada@example" in file.read_bytes() for file in files)


async def test_agreed_it_keeps_what_teaches(serve, folder_of, publish_bundle):
    """Escalations and audits with both labels, masked; the student's alone is nobody's business."""
    at, metrics = await _served(serve, folder_of, publish_bundle, 1.0, store_texts=CONSENT)
    found = _kept(at)
    assert {name: (one.kind, one.propensity) for name, one in found.items()} == {
        "r-0": ("audit", 1.0),
        "r-1": ("escalation", 1.0),
    }
    said = found["r-1"].said
    assert (said.text, said.student_label, said.teacher_label) == (
        "text 1 of [EMAIL]", "calm", "calm",
    )  # fmt: skip
    assert said.probabilities == [0.9, 0.1]
    assert "raisehand_texts_stored_total" in metrics
    for file in (at / ".raisehand").rglob("*"):
        assert not file.is_file() or b"ada@example" not in file.read_bytes()
    run = ["forget", "--task", str(at / "task.yaml"), "--json"]
    done = CliRunner().invoke(main, [*run, "--text", "text 0 of ada@example.org", "--id", "r-1"])
    assert json.loads(done.output) == {"deleted": 2, "bundles": []}
    assert _kept(at) == {}
    assert "nothing is named" in str(CliRunner().invoke(main, run).exception)


async def test_other_inputs_are_kept_at_a_rate(serve, folder_of, publish_bundle):
    """What nobody audited has no teacher's label, and no propensity."""
    at, _ = await _served(serve, folder_of, publish_bundle, 0.0, store_texts=CONSENT)
    found = _kept(at)
    assert (found["r-0"].kind, found["r-0"].said.teacher_label) == ("input", None)
    assert found["r-1"].kind == "escalation"
    assert "r-2" not in found
