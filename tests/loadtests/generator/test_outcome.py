"""A reply is read for what it is."""

import json

import pytest

from loadtests.generator.outcome import outcome_of
from loadtests.generator.reply import HttpReply


def read(body, *, status=200, surface="classify", headers=(), reads=()):
    """Read one reply that came 20 ms after its instant, which was 10.0 s."""
    head = {name.lower().encode(): value.encode() for name, value in headers}
    reply = HttpReply(status, head, body.encode(), tuple(map(tuple, reads)))
    outcome = outcome_of(surface, reply, 1.0, 5, 0.001, 0.02, 10.0)
    return {**outcome.sample(), "first": outcome.first_token_s, "gaps": outcome.token_gaps_s}


def test_headers_and_label_are_read():
    """Route, reason, confidence, cost, stages and label come from where the router puts them."""
    found = read(
        body='{"label": "urgent"}',
        headers=[
            ("X-Raisehand-Route", "teacher"),
            ("x-raisehand-reason", "low_confidence"),
            ("x-raisehand-confidence", "0.25"),
            ("x-raisehand-cost-usd", "0.000012"),
            ("server-timing", "queue;dur=1.5, forward;dur=0.25, cache"),
        ],
    )
    assert (found["label"], found["route"], found["reason"]) == (
        "urgent",
        "teacher",
        "low_confidence",
    )
    assert found["confidence"] == 0.25
    assert found["cost_usd"] == "0.000012"
    assert found["stages_ms"] == {"queue": 1.5, "forward": 0.25}
    assert found["failure"] is None


@pytest.mark.parametrize(
    ("header", "value", "field"),
    [
        ("x-raisehand-confidence", "nan", "confidence"),
        ("x-raisehand-confidence", "high", "confidence"),
        ("x-raisehand-cost-usd", "unpriced", "cost_usd"),
        ("x-raisehand-cost-usd", "Infinity", "cost_usd"),
    ],
)
def test_header_that_is_no_number_is_not_known(header, value, field):
    """What is no finite number is not known; it is never 0."""
    assert read(body='{"label": "x"}', headers=[(header, value)])[field] is None


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [(200, '{"lab', "garbled"), (429, "{}", "http_429"), (503, '{"label": "x"}', "http_503")],
)
def test_failure_has_a_kind(status, body, failure):
    """A status other than 200 or a body without a label is a failure with a name."""
    assert read(status=status, body=body)["failure"] == failure


def test_stream_is_timed_word_by_word():
    """First token from the scheduled instant, gaps between words, whatever reads split them."""

    def event(said):
        return "data: " + json.dumps({"choices": [{"delta": {"content": said}}]}) + "\n\n"

    events = [event(""), event("ur"), event("gent"), "data: [DONE]\n\n"]
    ends = [len("".join(events[: k + 1])) for k in range(4)]
    reads = [[10.010, ends[0]], [10.020, ends[1] - 3], [10.030, ends[1]], [10.070, ends[3]]]
    found = read(surface="chat-stream", body="".join(events), reads=reads)
    assert found["label"] == "urgent"
    assert found["first"] == pytest.approx(0.030)
    assert found["gaps"] == pytest.approx([0.040])


def test_stream_that_breaks_off_is_garbled():
    """Without [DONE] the answer is not whole."""
    body = 'data: {"choices": [{"delta": {"content": "ur"}}]}\n\n'
    assert read(surface="chat-stream", body=body)["failure"] == "garbled"


def test_systemone_answers_with_its_likeliest_option():
    """The option with the highest probability is the label."""
    body = '{"answers": {"label": {"probabilities": {"a": 0.2, "b": 0.8}}}}'
    assert read(surface="systemone", body=body)["label"] == "b"
