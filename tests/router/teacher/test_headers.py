"""What goes on to a teacher: the client's headers, the router's key and what the task fixes."""

from router.teacher.headers import headers_there

CLIENT = {b"authorization": b"Bearer client", b"ocp-key": b"client", b"x-trace": b"7",
          b"anthropic-version": b"1"}  # fmt: skip


def test_key_and_fixed_headers_replace_the_clients():
    """Whatever header the key goes in, the client's own is not sent beside it."""
    key, fixed = {"Ocp-Key": "secret"}, {"anthropic-version": "2"}
    sent = headers_there(CLIENT, "r1", key, streams=True, fixed=fixed)
    names = [name.lower() for name, _ in sent]
    assert len(names) == len(set(names))
    found = dict(zip(names, (value for _, value in sent), strict=True))
    assert (found["ocp-key"], found["anthropic-version"]) == ("secret", "2")
    assert "authorization" not in found
    assert found["x-trace"] == "7"


def test_without_a_key_the_clients_own_goes_on():
    """Fixed headers alone take nothing else of the client's away."""
    sent = dict(headers_there(CLIENT, "r1", {}, streams=True, fixed={"anthropic-version": "2"}))
    assert (sent["authorization"], sent["anthropic-version"]) == ("Bearer client", "2")
