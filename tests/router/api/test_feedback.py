"""POST /v1/feedback: gold for an answer, later, once, within one's own requests."""

from __future__ import annotations

import asyncio
import json
import threading

import aiohttp
import pytest
from click.testing import CliRunner

from router.cli import main
from router.errors import Unavailable
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.ledger.feedback import SqliteFeedback
from router.testing import FaultServer

PATH = "/v1/feedback"


async def test_it_is_taken_once_and_the_last_word_counts(rig):
    """New, the same, changed: a client that sends it again changes nothing."""
    made = await rig()
    given = {"id": "abc", "gold": "calm"}
    said = [(await made.post(PATH, given)).json for _ in range(2)]
    said.append((await made.post(PATH, {"id": "abc", "correct": False})).json)
    assert [one["received"] for one in said] == ["new", "same", "changed"]
    other = await made.post(PATH, given | {"source": "reviewer"})
    assert other.json == {"id": "abc", "received": "new"}
    assert made.ledger.entries == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"id": "a"}, "Either `gold` or `correct`"),
        ({"id": "a", "gold": "calm", "correct": True}, "Either `gold` or `correct`"),
        ({"id": "a", "gold": "nonsense"}, "they are: calm, urgent"),
        ({"id": "a b", "correct": True}, "id"),
        ({"correct": True}, "id"),
        ({"id": "a", "correct": True, "source": "friend"}, "source"),
        ({"id": "a", "correct": "yes"}, "correct"),
        (b"not json", "JSON"),
    ],
)
async def test_what_is_no_feedback_is_one_sentence(rig, body, words):
    """What was wrong and what is taken, and nothing that was sent."""
    made = await rig()
    response = await made.post(PATH, body)
    assert response.status == 400
    assert words in response.json["error"]["message"]


async def test_it_goes_through_the_key_gate_and_says_whose_it_is(rig):
    """No key, no feedback; a reviewer's is marked as one's that judges every key's answers."""
    specs = [
        KeySpec(name="team", sha256=sha256_of("s")),
        KeySpec(name="judge", sha256=sha256_of("j"), reviewer=True),
    ]
    made = await rig(keys=KeyRing(specs))
    body = {"id": "a", "correct": True}
    assert (await made.post(PATH, body)).status == 401
    for secret in (b"s", b"j"):
        assert (await made.post(PATH, body, [(b"x-api-key", secret)])).status == 200
    verdicts = made.service.feedback.verdicts.values()
    assert {(one.client, one.reviewer) for one in verdicts} == {("team", False), ("judge", True)}


def test_a_locked_file_is_a_503_that_may_be_sent_again(tmp_path, monkeypatch):
    """Feedback is acknowledged when it is stored, and not before."""
    from router.ledger import feedback
    from router.ledger.feedback import FeedbackSource, Judgement

    path = tmp_path / "ledger.sqlite"
    box = SqliteFeedback(path)
    monkeypatch.setattr(feedback, "WAIT_MS", 10)
    verdict = Judgement(
        request_id="a",
        task="t",
        source=FeedbackSource.USER,
        client="",
        reviewer=True,
        at=1.0,
        gold="x",
    )
    held = feedback.open_file(path)
    held.execute("begin immediate")
    with pytest.raises(Unavailable):
        box.put(verdict)
    held.execute("rollback")
    held.close()
    assert box.put(verdict) == "new"


def test_writers_at_once_agree_on_what_is_new(tmp_path):
    """Of many that say the same at once, one is new."""
    from router.ledger.feedback import FeedbackSource, Judgement

    box, said = SqliteFeedback(tmp_path / "ledger.sqlite"), []
    verdict = Judgement(
        request_id="a",
        task="t",
        source=FeedbackSource.USER,
        client="",
        reviewer=True,
        at=1.0,
        gold="x",
    )
    threads = [threading.Thread(target=lambda: said.append(box.put(verdict))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["new", *["same"] * 7]


async def test_a_running_router_stores_it_and_the_command_shows_it(serve, folder_of):
    """Over real HTTP: answers, a list, an escalation, then gold, late and twice."""
    async with FaultServer(["calm", "urgent"]) as teacher:
        at = folder_of(
            {
                "mode": "classify",
                "base_url": teacher.url,
                "answers": {},
                "max_concurrency": 32,
                "timeout_s": 60,
            },
            audit_rate=1.0,
        )
        router = await asyncio.to_thread(serve, at=at)
        async with aiohttp.ClientSession(router.url) as client:

            async def post(path, body):
                async with client.post(path, json=body) as response:
                    assert response.status == 200, await response.text()
                    return await response.json(), response.headers

            one, _ = await post("/v1/classify", {"text": "help"})
            many, _ = await post("/v1/classify", {"text": ["a b", "c d"]})
            unsure, head = await post("/v1/classify", {"text": "what", "threshold": 1.0})
            assert head["x-raisehand-route"] == "teacher", head["x-raisehand-reason"]
            ids = [answer["id"] for answer in (one, *many["data"], unsure)]
            for its_id in ids * 2:
                await post(PATH, {"id": its_id, "gold": "urgent"})
            await post(PATH, {"id": "never-seen", "correct": True})
        await asyncio.to_thread(router.stop)
    done = CliRunner().invoke(main, ["accuracy", "--task", str(at / "task.yaml"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    # The student calls everything urgent, the teacher everything calm.
    assert (found["all"]["student"]["count"], found["all"]["student"]["n"]) == (4, 4)
    assert (found["all"]["cascade"]["count"], found["all"]["cascade"]["n"]) == (3, 4)
    assert (found["all"]["teacher"]["count"], found["all"]["teacher"]["n"]) == (0, 4)
    assert (found["agreement"]["count"], found["agreement"]["n"]) == (1, 4)
    assert found["unmatched"] == 1
    said = CliRunner().invoke(main, ["accuracy", "--task", str(at / "task.yaml")]).output
    assert "biased" in said
    assert "user        cascade             4  75.00% [" in said
