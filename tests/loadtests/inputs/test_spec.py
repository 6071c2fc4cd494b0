"""What a load test may be."""

import pytest

from loadtests.errors import BadLoadSpec
from loadtests.inputs.spec import load_spec

GOOD = {"url": "http://127.0.0.1:8080", "inputs": "rows.csv", "rate": 100.0}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
def test_loopback_is_a_target(host):
    """Every name of this machine may be loaded."""
    assert load_spec(**{**GOOD, "url": f"http://{host}:1"}).rate == 100.0


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "0.0.0.0", "128.0.0.1"])
def test_another_machine_is_refused_unless_allowed(host):
    """A target elsewhere needs --allow-remote."""
    url = f"http://{host}:1"
    with pytest.raises(BadLoadSpec, match="--allow-remote"):
        load_spec(**{**GOOD, "url": url})
    assert load_spec(**{**GOOD, "url": url, "allow_remote": True}).url == url


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"url": "127.0.0.1:8080"}, "http://"),
        ({"url": "http://127.0.0.1:8080/?a=1"}, "scheme, host and port"),
        ({"rate": 0}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"arrivals": "random"}, "constant"),
        ({"surface": "chatty"}, "classify"),
        ({"user": "no place"}, "must occur once"),
        ({"user": "{text} {text}"}, "must occur once"),
        ({"rtae": 5}, "rtae"),
        ({"processes": 0}, "processes"),
    ],
)
def test_bad_setting_is_named(setting, words):
    """A wrong setting is one sentence that names the field and what is allowed."""
    with pytest.raises(BadLoadSpec, match=words) as caught:
        load_spec(**{**GOOD, **setting})
    assert "\n" not in str(caught.value)
