"""Liveness, readiness, models, metrics, documentation."""

from __future__ import annotations

import asyncio
import threading

from prometheus_client.parser import text_string_to_metric_families

from router.settings import Settings
from students.testing import ScriptedStudent
from tests.waiting import PATIENCE_S


async def test_a_started_router_is_alive_and_ready(rig):
    """Ready names the bundle of every task; the probe is a real inference, and is not booked."""
    made = await rig()
    assert (await made.get("/healthz")).status == 200
    ready = await made.get("/readyz")
    assert ready.json == {"status": "ready", "bundles": {"urgent": "bundle000001"}}
    assert len(made.student.calls) == 1
    assert made.ledger.entries == []


async def test_a_broken_student_is_alive_but_not_ready(rig, task):
    """A student that fails on everything makes the router unready."""
    made = await rig(student=ScriptedStudent(task.schema_, RuntimeError("broken")))
    assert (await made.get("/healthz")).status == 200
    response = await made.get("/readyz")
    assert response.status == 503
    assert "fails" in response.json["error"]["message"]


async def test_a_slow_student_is_not_ready_in_time(rig, task):
    """The probe gives up while the student still thinks, with a 503 and a Retry-After."""
    thought = threading.Event()
    made = await rig(
        settings=Settings(probe_timeout_s=0.02, stall_s=0.05),
        student=ScriptedStudent(
            task.schema_, lambda _: "calm" if thought.wait(PATIENCE_S) else "urgent"
        ),
    )
    response = await made.get("/readyz")
    thought.set()
    assert response.status == 503
    assert response.headers["retry-after"] == "1"


async def test_a_full_queue_is_ready_while_it_moves(rig, task):
    """Busy is not broken: a probe that finds no place, or waits behind others, is no failure."""
    for max_queue, crowd in ((2, 3), (1_024, 40)):
        made = await rig(
            settings=Settings(probe_timeout_s=0.1, max_queue=max_queue, max_batch_texts=1),
            student=ScriptedStudent(task.schema_, "calm", delay_s=0.04),
        )
        batcher = made.pipeline.slot.current.batcher
        waiting = []
        for _ in range(crowd):
            waiting.append(batcher.submit("help"))
            await asyncio.sleep(0.0)
        assert (await made.get("/readyz")).status == 200
        await asyncio.gather(*waiting)


async def test_a_full_queue_that_does_not_move_is_unready(rig, task):
    """A student that hangs with a full queue in front of it fails readiness."""
    made = await rig(
        settings=Settings(stall_s=0.02, max_queue=1),
        student=ScriptedStudent(task.schema_, "calm", delay_s=0.3),
    )
    batcher = made.pipeline.slot.current.batcher
    first = batcher.submit("help")
    await asyncio.sleep(0.05)
    second = batcher.submit("help")
    assert (await made.get("/readyz")).status == 503
    await asyncio.gather(first, second)


async def test_a_student_that_hangs_fails_liveness(rig, task):
    """When a batch runs longer than the stall limit, a restart is asked for."""
    made = await rig(
        settings=Settings(probe_timeout_s=0.05, stall_s=0.02),
        student=ScriptedStudent(task.schema_, "calm", delay_s=0.3),
    )
    await made.get("/readyz")
    response = await made.get("/healthz")
    assert response.status == 503


async def test_a_draining_router_is_unready_but_answers(rig):
    """After SIGTERM: unready for the load balancer, still serving what arrives."""
    made = await rig()
    made.service.draining = True
    assert (await made.get("/readyz")).status == 503
    assert (await made.get("/healthz")).status == 200
    assert (await made.post("/v1/classify", {"text": "help"})).status == 200


async def test_models_are_the_task_and_its_teacher(rig):
    """/v1/models has OpenAI's shape."""
    made = await rig()
    response = await made.get("/v1/models")
    assert response.json["object"] == "list"
    assert {m["id"] for m in response.json["data"]} == {"urgent", "big"}


async def test_one_model_is_listed_alone(rig):
    """/v1/models/{id} is the list's entry; an unknown one is a 404 in OpenAI's shape."""
    made = await rig()
    assert (await made.get("/v1/models/big")).json["id"] == "big"
    missing = await made.get("/v1/models/no/such")
    assert missing.status == 404
    assert missing.json["error"]["type"] == "not_found_error"


async def test_metrics_say_what_is_running(rig):
    """Version and bundle as labels, so that graphs can show a change."""
    made = await rig()
    families = text_string_to_metric_families((await made.get("/metrics")).body.decode())
    labels = {s.name: s.labels for f in families for s in f.samples if s.name.endswith("_info")}
    assert labels["raisehand_build_info"]["version"]
    assert labels["raisehand_bundle_info"]["bundle"] == "bundle000001"


async def test_metrics_name_every_outcome(rig):
    """/metrics parses, and counts by route and reason."""
    made = await rig()
    for text in ("help", "maybe", "poison"):
        await made.post("/v1/classify", {"text": text})
    response = await made.get("/metrics")
    families = {f.name: f for f in text_string_to_metric_families(response.body.decode())}
    counted = {
        (s.labels["route"], s.labels["reason"]): s.value
        for s in families["raisehand_requests"].samples
        if s.name.endswith("_total")
    }
    assert counted == {
        ("student", "confident"): 1,
        ("teacher", "low_confidence"): 1,
        ("teacher", "student_error"): 1,
    }
    for name in ("raisehand_queue_depth", "raisehand_teacher_inflight"):
        assert families[name].samples[0].value == 0


async def test_the_documentation_has_the_hot_routes(rig):
    """The OpenAPI schema describes what the edge answers, with resolvable references."""
    made = await rig()
    schema = (await made.get("/openapi.json")).json
    hot = {"/v1/classify", "/v1/chat/completions"}
    assert hot <= set(schema["paths"])
    for path in hot:
        body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"]["$ref"].rsplit("/", 1)[1] in schema["components"]["schemas"]
    assert (await made.get("/docs")).status == 200
