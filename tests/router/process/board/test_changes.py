"""What an operator does becomes an event, with what was asked for as its figures."""

import pytest

from router.process.admin_door import Change
from router.process.board.changes import event_of


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/tasks/a%20b/bundle", '{"bundle": "00000000000b"}',
         ("a b", "00000000000b", "bundle", {})),
        ("POST", "/tasks/t/canary", '{"bundle": "00000000000b", "share": 0.1}',
         ("t", "00000000000b", "canary", {"share": 0.1})),
        ("POST", "/tasks/t/canary/end", '{"promote": true}',
         ("t", "", "canary end", {"promote": 1})),
        ("PUT", "/tasks/t/threshold", '{"threshold": null}',
         ("t", "", "threshold", {"threshold": None})),
        ("POST", "/tasks/t/rollback", "", ("t", "", "rollback", {})),
        ("PUT", "/drain", '{"draining": true}', ("", "", "drain", {"draining": 1})),
        ("PUT", "/drain", '{"draining": tr', ("", "", "drain", {})),
        ("PUT", "/drain", "[1]", ("", "", "drain", {})),
    ],
)  # fmt: skip
def test_a_change_in_an_events_terms(method, path, body, told):
    """Whatever the path and the body; a body that was cut off has no figures."""
    event = event_of(Change("127.0.0.1", method, path, body), 5.0)
    assert (event.task, event.bundle, event.reason, event.figures) == told
    assert (event.kind, event.actor, event.at) == ("operator", "127.0.0.1", 5.0)
