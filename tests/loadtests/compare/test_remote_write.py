"""Load tests in a real Prometheus: written there, and every panel of the board finds them."""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from loadtests.commands import loadtest
from loadtests.compare.remote_write import series_of, snappy, write_request
from loadtests.compare.results import read_results
from loadtests.errors import CannotWrite
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
PEAK = ROOT / "docs" / "reports" / "peak.json"
BOARD = ROOT / "deploy" / "grafana" / "loadtests.json"


def _get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
        return response.read()


@pytest.fixture
def prometheus(tmp_path, free_port_of):
    """A Prometheus that scrapes nothing and may be written to."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus is installed")
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n")
    url = f"http://127.0.0.1:{free_port_of()}"
    process = subprocess.Popen(
        [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/db",
         f"--web.listen-address={url.removeprefix('http://')}",
         "--storage.tsdb.retention.time=10y", "--web.enable-remote-write-receiver"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            _get(f"{url}/-/ready")
            break
        except OSError:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(PATIENCE_S)


def _asked(url, expression, points):
    """Values by moment of the one series that an expression of the board finds."""
    plain = expression.replace("$scenario", ".*").replace("$commit", ".*")
    first, last = points[0][0], points[-1][0]
    query = {"query": plain, "start": first - 1, "end": last + 1, "step": 1}
    found = json.loads(_get(f"{url}/api/v1/query_range?{urllib.parse.urlencode(query)}"))
    assert found["status"] == "success"
    (series,) = found["data"]["result"]
    return {float(at): float(value) for at, value in series["values"]}


@pytest.mark.e2e
def test_every_panel_of_the_board_finds_what_was_written(prometheus):
    """Points arrive at their moments with their values; each panel's expression has data."""
    done = CliRunner().invoke(
        loadtest, ["push", str(PEAK), "--remote-write", f"{prometheus}/api/v1/write"]
    )
    assert done.exit_code == 0, done.output or done.exception
    assert "points of 1 load tests were taken" in done.output
    series = {dict(k)["__name__"]: v for k, v in series_of(read_results(PEAK)).items()}
    board = json.loads(BOARD.read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            name = re.findall(r"raisehand_loadtest_[a-z0-9_]+", target["expr"])[0]
            assert _asked(prometheus, target["expr"], series[name]), panel["title"]
    good = series["raisehand_loadtest_good_rps"]
    stored = _asked(prometheus, "raisehand_loadtest_good_rps", good)
    known = {round(at, 3): value for at, value in good}
    newest = [known[max(k for k in known if k <= at)] for at in sorted(stored) if at >= min(known)]
    assert [stored[at] for at in sorted(stored) if at >= min(known)] == pytest.approx(newest)
    assert len(newest) >= len(good) - 1


@pytest.mark.e2e
def test_a_prometheus_that_does_not_take_it_says_why(prometheus):
    """The reason, and the two options that are usually missing."""
    line = ["push", str(PEAK), "--remote-write", f"{prometheus}/api/v1/none"]
    done = CliRunner().invoke(loadtest, line)
    assert isinstance(done.exception, CannotWrite)
    assert "404" in str(done.exception)
    assert "--web.enable-remote-write-receiver" in str(done.exception)


def test_nobody_there_is_one_sentence(free_port_of):
    """With the address that a Prometheus has."""
    line = ["push", str(PEAK), "--remote-write", f"http://127.0.0.1:{free_port_of()}/api/v1/write"]
    done = CliRunner().invoke(loadtest, line)
    assert isinstance(done.exception, CannotWrite)
    assert "http://127.0.0.1:9090/api/v1/write" in str(done.exception)


def _varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


@given(st.binary(max_size=200_000))
def test_a_block_of_literals_holds_what_was_put_in(data):
    """Read back by the format's description: length, then literals with lengths of two bytes."""
    block = snappy(data)
    length, at = _varint(block, 0)
    read = b""
    while at < len(block):
        assert block[at] == 61 << 2
        size = int.from_bytes(block[at + 1 : at + 3], "little") + 1
        read += block[at + 3 : at + 3 + size]
        at += 3 + size
    assert length == len(data)
    assert read == data


def test_a_series_is_the_protocols_message():
    """One series of one label and one sample, byte for byte as the protocol's schema says."""
    message = write_request({(("__name__", "up"),): [(1.5, 1.0)]})
    label = b"\x0a\x0e" + b"\x0a\x08__name__" + b"\x12\x02up"
    sample = b"\x12\x0c" + b"\x09\x00\x00\x00\x00\x00\x00\xf0\x3f" + b"\x10\xdc\x0b"
    assert message == b"\x0a" + bytes([len(label + sample)]) + label + sample
