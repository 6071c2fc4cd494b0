"""Hard and easy inputs, as the student finds them."""

import http.server
import json
import threading

import numpy as np
import pytest

from loadtests.errors import BadLoadSpec
from loadtests.inputs.difficulty import divide, mix
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec

ROWS = [Row(i, str(i)) for i in range(200)]


@pytest.fixture
def router():
    """A router whose confidence in the text `n` is n / 200; it wants a threshold of 0."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            data = [{"confidence": int(text) / 200} for text in body["text"]]
            reply = json.dumps({"data": data} if body["threshold"] == 0 else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_requests_are_hard(router, share):
    """The asked share of the requests takes one of the 20 rows that the student doubts most."""
    spec = LoadSpec(url=router, inputs="x.csv", rate=1, hard_share=share)
    order = mix(spec, ROWS, np.zeros(2000, dtype=np.int64))
    hard = order < 20
    assert hard.mean() == pytest.approx(share, abs=0.04)
    if share:
        assert set(order[hard]) == set(range(20))
    assert (mix(spec, ROWS, order) == order).all()


def test_without_a_share_the_order_stays():
    """Inputs are taken as they are, and nobody is asked."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=1)
    order = np.arange(10)
    assert mix(spec, ROWS, order) is order


def test_target_that_tells_no_confidence_is_refused():
    """Hard inputs need a router that says how sure it is."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=1, hard_share=1)
    with pytest.raises(BadLoadSpec, match="tells its confidence"):
        mix(spec, ROWS, np.arange(10))


def test_hard_is_the_least_sure_tenth():
    """Of twenty, two are hard, and at least one always is."""
    hard, easy = divide(np.linspace(1, 0, 20))
    assert sorted(hard) == [18, 19]
    assert len(easy) == 18
    assert len(divide(np.array([0.5, 0.1]))[0]) == 1
