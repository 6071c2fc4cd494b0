"""A router and a fake teacher, started for a load test, and their books compared."""

import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import psutil
import pytest
import yaml

from costmodel.processes import answers
from loadtests.errors import BadLoadSpec, DeadTarget
from loadtests.inputs.difficulty import confidences
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.taskfile import read_task
from loadtests.servers.cores import Cores
from loadtests.servers.stack import running_stack
from loadtests.servers.usage import listeners
from loadtests.workers.workers import run_load
from students.certificate import NEVER
from students.runtime.linear import LinearWeights
from students.task import load_task
from students.testing import publish_linear
from tests.router.running import SERVED_TASK
from tests.waiting import PATIENCE_S, until

CONFIG = {"shortest": 3, "longest": 4}
INPUT_USD, OUTPUT_USD = Decimal("0.000001"), Decimal("0.000002")
STUDENT_USD = Decimal("0.1") / 3600 / 1000
TASK = SERVED_TASK | {
    "teacher": SERVED_TASK["teacher"] | {"timeout_s": 2},
    "inputs": {"path": "inputs.csv", "gold": "gold"},
}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A task whose bundle calls everything urgent and never trusts itself: all escalates."""
    folder = tmp_path_factory.mktemp("task")
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK))
    lines = ["text,gold", *(f"message {i},{'urgent' if i % 3 else 'calm'}" for i in range(200))]
    (folder / "inputs.csv").write_text("\n".join(lines) + "\n")
    full = load_task(folder / "task.yaml")
    weights = LinearWeights.of(
        3,
        4,
        np.full(16, -1, np.int32),
        np.zeros(0, np.float32),
        np.zeros((0, 2), np.float32),
        np.array([0.0, 1.0], np.float32),
    )

    publish_linear(full, weights, (NEVER, NEVER))
    return read_task(folder / "task.yaml")


@pytest.mark.e2e
def test_report_router_and_teacher_agree_to_the_last_token(task):
    """What the load test says it cost is what the fake teacher served, token by token."""
    core = Cores({max(os.sched_getaffinity(0))})
    with running_stack(task, {"latency_ms": 5}, cores=core) as stack:
        stack.reset_teacher()
        routers = listeners(int(stack.url.rpartition(":")[2]))
        spec = LoadSpec(
            url=stack.url,
            inputs=task.inside(task.inputs.path),
            rate=40,
            arrivals="constant",
            duration_s=3,
            warmup_s=0.5,
            max_send_lag_ms=60_000,
            max_generator_cpu=1.0,
            timeout_s=20,
        )
        report = run_load(spec)
        served = stack.served()
        assert [set(router.cpu_affinity()) for router in routers] == [core]
    everything = report.sent + report.unmeasured_sent
    assert report.succeeded == report.sent == 120
    assert report.reasons == {"teacher low_confidence": 120}
    assert served["answered"] == everything == 141
    teacher = served["input_tokens"] * INPUT_USD + served["output_tokens"] * OUTPUT_USD
    booked = report.cost_usd + report.unmeasured_cost_usd
    assert float(booked) == pytest.approx(float(teacher + everything * STUDENT_USD), abs=1e-9)
    assert set(report.stages_ms) >= {"queue", "forward", "teacher", "rest"}
    assert report.usage


@pytest.mark.e2e
def test_telling_hard_from_easy_asks_no_teacher(task):
    """Of a student that never trusts itself 70 texts are asked; the teacher has served none."""
    rows = [Row(i, f"message {i}") for i in range(70)]
    with running_stack(task, {"latency_ms": 5}) as stack:
        spec = LoadSpec(url=stack.url, inputs=task.inside(task.inputs.path), rate=1, hard_share=1)
        before = stack.served()
        asked = confidences(spec, rows)
        after = stack.served()
        report = run_load(
            spec.model_copy(
                update={"rate": 20, "duration_s": 1, "warmup_s": 0, "max_send_lag_ms": 60_000}
            )
        )
    assert asked.of_rows == pytest.approx([1 / (1 + np.exp(-1))] * 70, abs=1e-3)
    assert float(asked.usd) == pytest.approx(float(70 * STUDENT_USD))
    assert before == after
    assert report.unmeasured_sent == 1 + 200  # the one that tried the target, and all inputs


@pytest.mark.e2e
def test_a_target_that_overlooks_the_question_is_asked_once(server):
    """A server that answers without saying that the student alone did is refused after one text."""
    url = server("null")
    spec = LoadSpec(url=url, inputs="x.csv", rate=1, hard_share=1)
    with pytest.raises(BadLoadSpec, match="leave out --hard-share"):
        confidences(spec, [Row(i, str(i)) for i in range(70)])


@pytest.mark.e2e
def test_every_surface_is_driven(task):
    """Chat, streamed chat and the decision surface answer the task's words and name their route."""
    with running_stack(task, {"latency_ms": 2}) as stack:
        for surface in ("chat", "chat-stream", "systemone"):
            spec = LoadSpec(
                url=stack.url,
                inputs=task.inside(task.inputs.path),
                surface=surface,
                model="urgent",
                system="Say it.",
                user="Message: {text}\nUrgent?",
                labels=task.words,
                rate=20,
                duration_s=1,
                warmup_s=0,
                max_send_lag_ms=60_000,
                max_generator_cpu=1.0,
                timeout_s=20,
            )
            report = run_load(spec)
            assert report.failures == {}
            assert report.routes == {"teacher": report.sent}
            assert report.first_token_ms.n == (report.sent if surface == "chat-stream" else 0)


@pytest.mark.e2e
def test_port_in_use_and_missing_bundle_are_one_sentence(task, tmp_path):
    """A taken port is said at once; a task without a bundle is said in the router's own words."""
    with running_stack(task, {}) as stack:
        taken = int(stack.url.rpartition(":")[2])
        with (
            pytest.raises(BadLoadSpec, match=f"port {taken} is in use"),
            running_stack(task, {}, port=taken),
        ):
            pass
    bare = task.model_copy(update={"work_dir": tmp_path})
    with pytest.raises(DeadTarget, match="exited with 2 at its start"), running_stack(bare, {}):
        pass


@pytest.mark.e2e
@pytest.mark.parametrize("surface", ["classify", "batch"])
def test_a_whole_test_can_ask_the_student_alone(task, surface):
    """With student_only a student that never trusts itself answers all, and no teacher is asked."""
    with running_stack(task, {"latency_ms": 5}) as stack:
        before = stack.served()
        report = run_load(
            LoadSpec(
                url=stack.url,
                inputs=task.inside(task.inputs.path),
                surface=surface,
                student_only=True,
                rate=40,
                duration_s=1,
                warmup_s=0,
                max_send_lag_ms=60_000,
                max_generator_cpu=1.0,
            )
        )
        assert stack.served() == before
    assert report.failures == {}
    assert report.routes == {"student": report.sent}


@pytest.mark.e2e
def test_a_target_that_asks_whom_it_likes_is_refused(server, rows):
    """A server that does not say that the student alone answered gets one request, and no test."""
    spec = LoadSpec(url=server("null"), inputs=rows, rate=1, student_only=True)
    with pytest.raises(BadLoadSpec, match="leave out student_only"):
        run_load(spec)


@pytest.mark.e2e
def test_options_are_handed_on_to_the_router(task):
    """With --workers 2 two processes listen on the router's port."""
    with running_stack(task, {"latency_ms": 5}, serve=("--workers", "2")) as stack:
        port = int(stack.url.rpartition(":")[2])
        until(lambda: len(listeners(port)) == 2)  # the first answers before the second listens


KILLED = """
import sys, time
from pathlib import Path
from loadtests.inputs.taskfile import read_task
from loadtests.servers.stack import running_stack
with running_stack(read_task(Path(sys.argv[1])), {}, serve=["--workers", sys.argv[2]]) as stack:
    print(stack.url, stack.teacher_url, flush=True)
    time.sleep(600)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("workers", ["1", "2"])
def test_whoever_is_killed_leaves_no_server_behind(task, workers):
    """A load test that is killed cannot stop its router and its teacher: they end by themselves."""
    command = [sys.executable, "-c", KILLED, str(task.folder / "task.yaml"), workers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        urls = parent.stdout.readline().split()
        assert [answers(f"{urls[0]}/readyz"), answers(f"{urls[1]}/health")] == [True, True]
        servers = [one for url in urls for one in listeners(int(url.rpartition(":")[2]))]
        parent.kill()
    _, alive = psutil.wait_procs(servers, timeout=PATIENCE_S)
    for one in alive:
        one.kill()
    assert (alive, [listeners(int(url.rpartition(":")[2])) for url in urls]) == ([], [[], []])
