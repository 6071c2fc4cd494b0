"""Hard and easy inputs, as the student finds them.

The real router is asked in test_stack.py, beside a fake teacher that counts.
"""

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


class Router:
    """Answers as the student whose confidence in the text `n` is n / 200, for some reason."""

    def __init__(self):
        self.reason, self.asked = "student_only", []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self):
        router = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert body["student_only"] is True
                router.asked += body["text"]
                said = {"route": "student", "reason": router.reason}
                data = [{"confidence": int(t) / 200, "raisehand": said} for t in body["text"]]
                reply = json.dumps({"data": data}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(reply)))
                self.send_header("x-raisehand-cost-usd", str(0.5 * len(data)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        return Handler

    def close(self):
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def router():
    """A router that can ask its student alone."""
    server = Router()
    yield server
    server.close()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_requests_are_hard(router, share):
    """The asked share of the requests takes one of the 20 rows that the student doubts most."""
    spec = LoadSpec(url=router.url, inputs="x.csv", rate=1, hard_share=share)
    mixed = mix(spec, ROWS, np.zeros(2000, dtype=np.int64))
    assert (mixed.asked, mixed.usd) == (200, 100)
    order = mixed.rows
    hard = order < 20
    assert hard.mean() == pytest.approx(share, abs=0.04)
    if share:
        assert set(order[hard]) == set(range(20))
    assert (mix(spec, ROWS, order).rows == order).all()


def test_without_a_share_the_order_stays():
    """Inputs are taken as they are, and nobody is asked."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=1)
    order = np.arange(10)
    mixed = mix(spec, ROWS, order)
    assert mixed.rows is order
    assert mixed.asked == mixed.usd == 0


def test_target_that_is_not_there_is_refused():
    """Hard inputs need a router."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=1, hard_share=1)
    with pytest.raises(BadLoadSpec, match="can ask its student alone"):
        mix(spec, ROWS, np.arange(10))


def test_a_target_that_overlooks_the_question_is_asked_one_text(router):
    """An answer for another reason than `student_only` ends the asking: its teacher may be paid."""
    router.reason = "low_confidence"
    spec = LoadSpec(url=router.url, inputs="x.csv", rate=1, hard_share=1)
    with pytest.raises(BadLoadSpec, match="it answered for the reason low_confidence"):
        mix(spec, ROWS, np.arange(10))
    assert router.asked == ["0"]


def test_one_input_cannot_be_divided():
    """Hard and easy need at least one input each."""
    spec = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=1, hard_share=0.5)
    with pytest.raises(BadLoadSpec, match="at least 2"):
        mix(spec, ROWS[:1], np.zeros(10, dtype=np.int64))


def test_hard_is_the_least_sure_tenth():
    """Of twenty, two are hard, and at least one always is."""
    hard, easy = divide(np.linspace(1, 0, 20))
    assert sorted(hard) == [18, 19]
    assert len(easy) == 18
    assert len(divide(np.array([0.5, 0.1]))[0]) == 1
