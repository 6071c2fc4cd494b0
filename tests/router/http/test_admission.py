"""Requests that are one too many are turned away, in the words of their surface."""

from __future__ import annotations

import json

import pytest

from router.http.admission import BURST, PATIENCE, REFUSALS_PER_S, Admission, ready_refusal
from router.http.desk import native_error, openai_error
from router.testing import ManualClock


@pytest.mark.parametrize(("in_work", "refused"), [(9, False), (10, True), (11, True)])
def test_the_request_after_the_limit_is_refused(in_work, refused):
    """At the limit the next one is turned away, below it is not; refusals are counted."""
    door = Admission(10, lambda: 0, ManualClock())
    assert door.refuses(in_work) == refused
    assert door.refused == int(refused)


def test_requests_that_wait_for_a_teacher_keep_nobody_out():
    """Ten in work of which one waits for the teacher leave room for one more."""
    assert not Admission(10, lambda: 1, ManualClock()).refuses(10)
    assert Admission(10, lambda: 1, ManualClock()).refuses(11)


def test_refusals_get_a_part_of_the_core_and_beyond_that_requests_wait():
    """After a burst they come at their rate; far over the limit everything is refused."""
    clock = ManualClock()
    door = Admission(10, lambda: 0, clock)
    assert sum(door.refuses(10) for _ in range(2 * BURST)) == BURST
    clock.now += 100 / REFUSALS_PER_S
    assert sum(door.refuses(10) for _ in range(2 * BURST)) == pytest.approx(100, abs=1)
    assert not door.refuses(PATIENCE * 10 - 1)
    assert all(door.refuses(PATIENCE * 10) for _ in range(2 * BURST))
    clock.now += 1 / REFUSALS_PER_S
    assert not door.refuses(10, others_first=True)
    assert door.refuses(10)


@pytest.mark.parametrize(
    ("error_body", "keys"),
    [(native_error, {"type", "message"}), (openai_error, {"type", "message", "param", "code"})],
)
def test_the_refusal_at_hand_is_in_the_words_of_its_surface(error_body, keys):
    """Retry-After, reason and a JSON body of the stated length."""
    fields, body = ready_refusal(error_body)
    headers = dict(line.split(": ") for line in fields.decode().splitlines())
    assert headers["retry-after"] == "1"
    assert headers["x-raisehand-reason"] == "queue_full"
    assert int(headers["content-length"]) == len(body)
    assert set(json.loads(body)["error"]) == keys
