"""What is known of this machine's generator decides what may be claimed."""

import json

import pytest

from loadtests.inputs.shape import RateShape
from loadtests.inputs.spec import LoadSpec
from loadtests.verdict import generator_limit as limit


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache; where the file of it will stand."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "raisehand" / "load-generator.json"


def spec(rate, **fields):
    """A load test at a rate."""
    return LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=rate, **fields)


def test_peak_is_the_highest_second_of_one_process():
    """Shape and number of processes count, not the mean."""
    spike = RateShape(kind="spike", factor=10)
    assert limit.peak_rps(spec(100, shape=spike, duration_s=30, processes=2)) == 500


def test_an_unmeasured_machine_is_trusted_with_little():
    """700 rps, because nobody knows better; the refusal says how to find out."""
    assert limit.remembered() is None
    assert limit.may_claim(spec(700))
    assert not limit.may_claim(spec(701))
    assert "1000 that an unmeasured one sends on time" in limit.refusal(701)
    assert "raisehand bench harness" in limit.refusal(701)


def test_a_measured_machine_is_trusted_with_seventy_percent():
    """More than assumed or less: what was measured counts."""
    limit.remember(5000)
    assert limit.may_claim(spec(3500))
    assert not limit.may_claim(spec(3501))
    assert "3501 rps are asked" in limit.refusal(3501)
    assert "the 5000 that one sends" in limit.refusal(3501)
    limit.remember(500)
    assert not limit.may_claim(spec(351))


def test_another_machine_or_version_knows_nothing(cache):
    """A limit is of this machine and these versions."""
    limit.remember(5000)
    (here,) = json.loads(cache.read_text())
    cache.write_text(json.dumps({here + " of last year": 5000}))
    assert limit.remembered() is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', "null"])
def test_a_spoilt_cache_is_no_cache(cache, content):
    """It is measured again, not believed."""
    cache.parent.mkdir()
    cache.write_text(content)
    assert limit.remembered() is None
