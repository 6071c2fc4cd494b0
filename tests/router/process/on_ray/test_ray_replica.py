"""A replica and its connection without Ray: what it says, when it is ill, what is asked twice."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.cli import main
from router.errors import BadSettings
from router.process.on_ray.app import students
from router.process.on_ray.replica import StudentReplica
from router.settings import Settings
from router.student import engine_messages as wire
from router.student.batcher import Batcher
from router.student.connections import ServeAddress, serve_address
from router.student.remote_student import EngineGone, RemoteStudent
from students.errors import BadBundle
from students.labels import LabelSchema
from students.runtime.bundle import find_bundle
from students.testing import ScriptedStudent
from tests.waiting import PATIENCE_S

SCHEMA = LabelSchema(("a", "b"))


@pytest.fixture
def bundle(folder):
    """The bundle of the module's task."""
    return find_bundle(folder / ".raisehand")


@pytest.fixture
def replica(folder, bundle):
    """A replica that serves it."""
    return StudentReplica([bundle.id], str(folder / ".raisehand"), None, "cpu")


async def test_it_answers_for_its_bundles_and_names_them_to_others(replica, bundle):
    """Open, a question, and a bundle that was never deployed."""
    assert (await replica.reply(bundle.id, wire.Open("x"))).tokens > 0
    said = await replica.reply(bundle.id, wire.EngineRequest(["help", "all is well"]))
    assert len(said.labels) == 2
    refused = await replica.reply("0123456789ab", wire.EngineRequest(["help"]))
    assert bundle.id in refused.words
    await replica.__del__()


def test_a_bundle_that_is_nowhere_ends_the_replica(folder):
    """It must not be counted as one that serves."""
    with pytest.raises(BadBundle, match="0 bundles begin with 'ffff'"):
        StudentReplica(["ffff"], str(folder / ".raisehand"), None, "cpu")


async def test_a_student_that_hangs_is_ill(replica, bundle):
    """Health is a real inference, within the time that a batch may take."""
    await replica.check_health()
    free = threading.Event()

    class Hanging(ScriptedStudent):
        def predict(self, texts):
            free.wait(PATIENCE_S)
            return super().predict(texts)

    student = Hanging(SCHEMA, lambda text: (0.5, 0.5))
    replica._batchers[bundle.id] = Batcher(student, max_queue=10)
    replica._stall_s = 0.1
    with pytest.raises(RuntimeError, match=f"{bundle.id} hangs"):
        await replica.check_health()
    free.set()
    await replica.__del__()


async def test_a_student_that_fails_is_ill(replica, bundle):
    """A replica that gives no answer is replaced."""
    student = ScriptedStudent(SCHEMA, lambda text: RuntimeError("broken"))
    replica._batchers[bundle.id] = Batcher(student, max_queue=10)
    with pytest.raises(RuntimeError, match="gives no answer"):
        await replica.check_health()
    await replica.__del__()


@pytest.fixture
def proxy():
    """A server that answers as a list says, a status or a message; then as its last entry."""
    script, paths = [], []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            paths.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            said = script.pop(0) if len(script) > 1 else script[0]
            status, body = (said, b"no") if isinstance(said, int) else (200, wire.frame(said))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ServeAddress("127.0.0.1", server.server_port, "/students"), script, paths
    server.shutdown()
    server.server_close()


ANSWER = wire.EngineAnswer([1], [0.75], b"\0" * 8)
OPENED = wire.Opened(100)


def test_what_a_dead_replica_had_is_asked_once_more(proxy):
    """500 of a replica that died, then another one; each question names the bundle."""
    address, script, paths = proxy
    script += [OPENED, 500, OPENED, ANSWER]
    [said] = RemoteStudent(SCHEMA, address, Path("b/0123456789ab")).predict(["help"])
    assert (said.label, said.confidence) == (1, 0.75)
    assert paths == ["/students/0123456789ab"] * 4


def test_nobody_twice_is_no_prediction(proxy):
    """Then the router does what it does with every student that fails."""
    address, script, _ = proxy
    script += [OPENED, 503, 503]
    student = RemoteStudent(SCHEMA, address, Path("b/0123456789ab"))
    with pytest.raises(EngineGone, match="answered 503"):
        student.predict(["help"])
    script[:] = [OPENED, ANSWER]
    assert student.predict(["help"])


def test_an_application_that_comes_later_is_waited_for(proxy):
    """404 and 503 while it starts."""
    address, script, _ = proxy
    script += [404, 503, OPENED, ANSWER]
    assert RemoteStudent(SCHEMA, address, Path("b/0123456789ab")).predict(["help"])


@pytest.mark.parametrize(
    "url",
    ["own2", "ray://", "ray://host", "ray://host:x", "http://host:8000", "ray://u@host:1", "ray"],
)
def test_an_engine_that_is_none_is_one_sentence(url):
    """Before anything is started."""
    said = CliRunner().invoke(main, ["serve", "--engine", url], standalone_mode=False)
    assert isinstance(said.exception, BadSettings)
    assert "it is own, shared, or where Ray Serve answers" in str(said.exception)


def test_an_address_is_read_with_its_route():
    """As people write it, with and without a last slash."""
    assert serve_address("ray://h:8000/a/b/") == ServeAddress("h", 8000, "/a/b")
    assert str(serve_address("ray://h:8000")) == "ray://h:8000"
    said = CliRunner().invoke(main, ["serve", "--engine", "ray://h:1", "--device", "cuda"])
    assert "leave it out with --engine ray://" in str(said.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "bundles: Field required"),
        ({"bundles": "a", "replicas": 0}, "replicas: Input should be greater than or equal to 1"),
        ({"bundles": "a", "gpu": 1}, "gpu: Extra inputs are not permitted"),
    ],
)
def test_arguments_that_are_none_are_one_sentence(arguments, said):
    """Ray Serve shows it as the reason why nothing was deployed."""
    with pytest.raises(BadSettings, match=said):
        students(arguments)


def test_the_deployment_keeps_what_a_batched_student_needs():
    """More questions at a time than Ray's five, a bounded queue, quick checks, at least one."""
    app = students({"bundles": "a,b", "replicas": 2, "max_replicas": 4, "gpus": 0.5})
    deployment = app._bound_deployment
    assert deployment.max_ongoing_requests == 64
    assert deployment.max_queued_requests == 256
    assert deployment.ray_actor_options["num_gpus"] == 0.5
    scale = deployment._deployment_config.autoscaling_config
    assert (scale.min_replicas, scale.max_replicas) == (2, 4)
    assert Settings().stall_s < deployment._deployment_config.health_check_timeout_s
