"""A variable that has no effect is said, not passed over."""

import pytest

from router.errors import BadSettings
from router.settings import Settings, check_names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RAISEHAND_MAX_BODY_BYTE", "did you mean RAISEHAND_MAX_BODY_BYTES"),
        ("RAISEHAND_MAXBODYBYTES", "did you mean RAISEHAND_MAX_BODY_BYTES"),
        ("RAISEHAND_DRAIN_TIMEOUT", "did you mean RAISEHAND_DRAIN_TIMEOUT_S"),
        ("raisehand_max_queues", "did you mean RAISEHAND_MAX_QUEUE"),
        ("RAISEHAND_XYZ", "docs/operations.md"),
    ],
)
def test_a_misspelt_setting_stops_the_start_with_the_near_one(name, words):
    """A limit that nobody reads is a limit that does not hold."""
    with pytest.raises(BadSettings, match=words) as caught:
        check_names(environment={name: "secret", "PATH": "/bin"})
    assert name in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_read_or_written_by_others_is_no_fault():
    """Every setting in any case, a teacher's key, and what Kubernetes sets for a service."""
    known = [f"RAISEHAND_{field.upper()}" for field in Settings.model_fields]
    links = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP"]
    links += ["PORT_8080_TCP_ADDR", "PORT_8080_TCP_PORT", "PORT_8080_TCP_PROTO"]
    names = [*known, *map(str.lower, known), *(f"RAISEHAND_{link}" for link in links)]
    names += ["RAISEHAND_LIFELINE", "RAISEHAND_WORKER_FOLDER", "RAISEHAND_TEACHER", "HOME"]
    check_names({"RAISEHAND_TEACHER"}, dict.fromkeys(names, "1"))
