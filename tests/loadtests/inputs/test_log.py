"""A log of one's own is replayed: its texts, at its moments."""

import json

import numpy as np
import pytest

from loadtests.errors import BadLoadSpec, BadRows
from loadtests.generator.schedule import lay_out
from loadtests.inputs.log import as_recorded, log_rate
from loadtests.inputs.rows import rows_of
from loadtests.inputs.spec import LoadSpec, load_spec

LOG = """when,said
2026-11-29T08:00:03,third
2026-11-29T08:00:00,first
2026-11-29T08:00:01,
2026-11-29T08:00:00.500,second
2026-11-29T08:00:04.500,fourth
"""


@pytest.fixture
def log(tmp_path):
    """Four texts over 4.5 s, not in order, and a blank one."""
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def spec_of_log(log, **settings):
    """A replay of the log."""
    base = {"url": "http://127.0.0.1:1", "inputs": log, "text": "said", "time": "when"}
    base |= {"arrivals": "log", "warmup_s": 0, "rate": 4 / 6, "duration_s": 6}
    return LoadSpec.model_validate({**base, **settings})


def texts(schedule, rows):
    """What is sent, in order."""
    return [rows[k].text for k in schedule.rows]


def test_texts_leave_when_they_came(log):
    """At the log's own rate each text leaves at its own moment, in the order of the moments."""
    rows = rows_of(spec_of_log(log))
    found = lay_out(spec_of_log(log, rate=log_rate(rows), duration_s=6), rows)
    assert texts(found, rows) == ["first", "second", "third", "fourth"]
    assert found.offsets_s == pytest.approx([0, 0.5, 3, 4.5])


def test_another_rate_stretches_the_log_and_it_begins_anew(log):
    """At twice the rate gaps are halved; after its end and a mean gap the log comes again."""
    rows = rows_of(spec_of_log(log))
    spec = spec_of_log(log, rate=2 * log_rate(rows), duration_s=6, warmup_s=1)
    found = lay_out(spec, rows)
    assert texts(found, rows) == ["fourth", *["first", "second", "third", "fourth"] * 2]
    first, second = found.offsets_s[1:5], found.offsets_s[5:]
    assert first == pytest.approx([0, 0.25, 1.5, 2.25])
    assert second - first == pytest.approx(np.full(4, 3.0))
    assert -1 <= found.offsets_s[0] < 0


def test_rate_and_length_are_the_log_s_own(log):
    """Whoever gives neither replays it once, as it was; what is given stays."""
    load = {"inputs": log, "text": "said", "time": "when", "arrivals": "log"}
    found = as_recorded(load)
    assert found["rate"] == pytest.approx(3 / 4.5)
    assert found["duration_s"] == pytest.approx(6)
    assert as_recorded({**load, "rate": 2.0})["duration_s"] == pytest.approx(2)
    assert as_recorded({"rate": 3}) == {"rate": 3}


def test_a_log_without_time_is_refused(log, tmp_path):
    """A word that is no moment, moments that do not move, a shape, or no column: one sentence."""
    path = tmp_path / "bad.csv"
    path.write_text("when,said\nsoon,a\n1,b\n")
    with pytest.raises(BadRows, match=r"bad\.csv.* has the time 'soon'; seconds or a date"):
        rows_of(spec_of_log(path))
    path.write_text("when,said\n1,a\n1,b\n")
    with pytest.raises(BadRows, match="2 texts in 0 s"):
        lay_out(spec_of_log(path), rows_of(spec_of_log(path)))
    settings = spec_of_log(log).model_dump()
    for changed, message in (
        ({"time": None}, "belong together"),
        ({"shape": {"kind": "ramp", "factor": 2}}, "shape of its own"),
        ({"hard_share": 0.5}, "leave out hard_share"),
    ):
        with pytest.raises(BadLoadSpec, match=message):
            load_spec(**{**settings, **changed})


@pytest.mark.e2e
def test_command_replays_a_log(command, server, log, tmp_path):
    """The samples of the run are the log's rows at the log's moments."""
    samples = tmp_path / "samples.jsonl"
    done = command(
        *("--url", server("null"), "--inputs", str(log), "--text", "said"),
        *("--arrivals", "log", "--time", "when", "--warmup", "0", "--samples", str(samples)),
        *("--max-send-lag-ms", "60000", "--max-generator-cpu", "1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [row["row"] for row in found] == [1, 3, 0, 4]
    assert [row["at_s"] for row in found] == pytest.approx([0, 0.5, 3, 4.5])
