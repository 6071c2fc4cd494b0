"""A fake teacher with a Batch API over real HTTP, in a thread."""

import threading
import time

import pytest
import uvicorn

from loadtests.servers.fake_teacher import FakeTeacher
from loadtests.servers.knobs import Knobs
from tests.waiting import PATIENCE_S

LABELS = ("urgent", "calm")


@pytest.fixture
def server(free_port_of):
    """A running fake teacher; `fake` is the application, whose knobs and counters are in reach."""
    fake = FakeTeacher(Knobs(labels=LABELS, keywords={"urgent": ("help",)}))
    port = free_port_of()
    config = uvicorn.Config(fake, port=port, log_level="critical", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    fake.url = f"http://127.0.0.1:{port}/v1"
    yield fake
    running.should_exit = True
    thread.join(PATIENCE_S)


@pytest.fixture
def turn(server):
    """Change knobs of the fake."""

    def change(**knobs):
        server.knobs = server.knobs.model_copy(update=knobs)

    return change
