"""Inputs are read, cleaned and divided without leaks."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from students.errors import BadInputs
from students.label.inputs import make_inputs, read_inputs
from students.labels import LabelSchema
from students.sections import InputsSection

SCHEMA = LabelSchema(("calm", "urgent"))
ROWS = [("help now", "urgent", "train"), ("nice day", "calm", "test"), ("so what", "", "")]


def _csv(path, rows, header="text,gold,split"):
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return InputsSection(path=path, gold="gold", split="split")


def test_a_file_is_the_same_inputs_as_its_rows_in_memory(tmp_path):
    """Texts, gold and given splits are those of the rows."""
    inputs = read_inputs(_csv(tmp_path / "a.csv", ROWS), SCHEMA)
    assert inputs.texts == ("help now", "nice day", "so what")
    assert inputs.gold.tolist() == [1, 0, -1]
    assert inputs.split == ("train", "test", None)
    assert inputs.sha256 == make_inputs(inputs.texts, inputs.gold, inputs.split).sha256


def test_times_of_parquet_are_times(tmp_path):
    """A column of timestamps, finer than Python's own, gives seconds."""
    at = pa.array([1_500_000_000], pa.timestamp("ns", tz="UTC"))
    pq.write_table(pa.table({"text": ["a"], "at": at}), tmp_path / "a.parquet")
    section = InputsSection(path=tmp_path / "a.parquet", time="at")
    assert read_inputs(section, SCHEMA).time.tolist() == [1.5]


def test_copies_stay_rows_of_one_text(tmp_path):
    """An empty text is dropped, a copy is asked about once and still counts; both are said."""
    rows = [("a b", "", ""), ("  ", "", ""), (" a b ", "", ""), ("c", "", "")]
    inputs = read_inputs(_csv(tmp_path / "a.csv", rows), SCHEMA)
    assert inputs.texts == ("a b", "c")
    assert inputs.rows.tolist() == [0, 0, 1]
    assert inputs.copy.tolist() == [0, 1, 0]
    assert (inputs.dropped.empty, inputs.dropped.duplicates) == (1, 1)


def test_gold_that_contradicts_itself_counts_as_unknown(tmp_path):
    """One text with two gold labels has none, and is counted; a copy without gold is no rival."""
    rows = [("a", "calm", ""), ("a", "urgent", ""), ("b", "calm", ""), ("b", "", "")]
    inputs = read_inputs(_csv(tmp_path / "a.csv", rows), SCHEMA)
    assert inputs.gold.tolist() == [-1, 0]
    assert inputs.dropped.conflicting == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("12.5", 12.5), ("1970-01-01T00:01:00Z", 60.0), ("1970-01-01 01:00:00+01:00", 0.0)],
)
def test_times_are_numbers_or_iso_8601(tmp_path, value, seconds):
    """A time column may hold either."""
    path = tmp_path / "a.csv"
    path.write_text(f"text,at\nhello,{value}\n")
    inputs = read_inputs(InputsSection(path=path, time="at"), SCHEMA)
    assert inputs.time.tolist() == [seconds]


def test_split_by_time_needs_no_more_than_the_word(tmp_path):
    """`split: time` takes the times from the column of that name, or from the one that is named."""
    path = tmp_path / "a.csv"
    path.write_text("text,time,at\nhello,1,2\n")
    for given, found in (({}, 1.0), ({"time": "at"}, 2.0)):
        section = InputsSection.model_validate({"path": path, "split": "time", **given})
        assert section.sampling == "latest"
        assert read_inputs(section, SCHEMA).time.tolist() == [found]


@pytest.mark.parametrize(
    "ways", [{"split": "part", "group": "who"}, {"time": "at", "group": "who"}]
)
def test_two_ways_to_draw_what_judges_are_refused(ways):
    """Given splits, times and groups each say which rows judge."""
    with pytest.raises(ValidationError, match="are both given, and each says which rows judge"):
        InputsSection.model_validate({"path": "a.csv", **ways})


@pytest.mark.parametrize("value", ["yesterday", "nan", "inf", ""])
def test_a_time_that_is_none_is_one_sentence(tmp_path, value):
    """What cannot be read as a time is named with its row and an example."""
    path = tmp_path / "a.csv"
    path.write_text(f"text,at\nhello,{value}\n")
    with pytest.raises(BadInputs, match=rf"line 2 has the time '{value}'; .* ISO 8601"):
        read_inputs(InputsSection(path=path, time="at"), SCHEMA)


def test_times_of_two_kinds_are_one_sentence(tmp_path):
    """Milliseconds from one system and ISO times from another: the former judged, all of them."""
    path = tmp_path / "a.csv"
    path.write_text("text,at\nhello,2026-11-29\nthere,1764460800000\n")
    with pytest.raises(BadInputs, match=r"line 3 has the time '1764460800000'; .* of one kind"):
        read_inputs(InputsSection(path=path, time="at"), SCHEMA)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", "angry", "")], "line 2 has the gold label 'angry', which the task does not have"),
        ([("a", "", "trian")], "line 2 has the split 'trian'; it must be one of train, validation"),
        ([(" ", "", "")], "has no row with text in column 'text'"),
    ],
)
def test_a_wrong_row_is_one_sentence(tmp_path, rows, says):
    """Unknown gold, unknown split and no text at all name the fault and what is allowed."""
    with pytest.raises(BadInputs, match=says):
        read_inputs(_csv(tmp_path / "a.csv", rows), SCHEMA)
