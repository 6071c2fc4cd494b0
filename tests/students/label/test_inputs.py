"""Inputs are read, cleaned and divided without leaks."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from students.errors import BadInputs
from students.label.inputs import make_inputs, read_inputs
from students.labels import LabelSchema
from students.task import InputsSection

SCHEMA = LabelSchema(("calm", "urgent"))
ROWS = [("help now", "urgent", "train"), ("nice day", "calm", "test"), ("so what", "", "")]


def _csv(path, rows, header="text,gold,split"):
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return InputsSection(path=path, gold="gold", split="split")


def _jsonl(path, rows):
    lines = [json.dumps(dict(zip(("text", "gold", "split"), row, strict=True))) for row in rows]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return InputsSection(path=path, gold="gold", split="split")


def _parquet(path, rows):
    columns = list(zip(*rows, strict=True))
    pq.write_table(pa.table(dict(zip(("text", "gold", "split"), columns, strict=True))), path)
    return InputsSection(path=path, gold="gold", split="split")


def _dataset(path, rows):
    """Write what `Dataset.save_to_disk` writes, gold as a ClassLabel."""
    path.mkdir()
    table = pa.table(
        {
            "text": [r[0] for r in rows],
            "gold": [SCHEMA.index(r[1]) if r[1] else -1 for r in rows],
            "split": [r[2] for r in rows],
        }
    )
    with pa.ipc.new_stream(str(path / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table)
    features = {"gold": {"names": list(SCHEMA.names), "_type": "ClassLabel"}}
    (path / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (path / "state.json").write_text(json.dumps(state))
    return InputsSection(path=path, gold="gold", split="split")


@pytest.mark.parametrize(
    ("write", "name"),
    [(_csv, "a.csv"), (_jsonl, "a.jsonl"), (_parquet, "a.parquet"), (_dataset, "folder")],
)
def test_every_kind_of_file_gives_the_same_inputs(tmp_path, write, name):
    """CSV, JSONL, Parquet and a dataset folder with the same rows are the same inputs."""
    inputs = read_inputs(write(tmp_path / name, ROWS), SCHEMA)
    assert inputs.texts == ("help now", "nice day", "so what")
    assert inputs.gold.tolist() == [1, 0, -1]
    assert inputs.split == ("train", "test", None)
    assert inputs.sha256 == make_inputs(inputs.texts, inputs.gold, inputs.split).sha256


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
    with pytest.raises(BadInputs, match=rf"row 1 has the time '{value}'; .* ISO 8601"):
        read_inputs(InputsSection(path=path, time="at"), SCHEMA)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", "angry", "")], "row 1 has the gold label 'angry', which the task does not have"),
        ([("a", "", "trian")], "row 1 has the split 'trian'; it must be one of train, validation"),
        ([(" ", "", "")], "has no row with text in column 'text'"),
    ],
)
def test_a_wrong_row_is_one_sentence(tmp_path, rows, says):
    """Unknown gold, unknown split and no text at all name the fault and what is allowed."""
    with pytest.raises(BadInputs, match=says):
        read_inputs(_csv(tmp_path / "a.csv", rows), SCHEMA)


def test_wrong_files_are_one_sentence(tmp_path):
    """Missing file, unknown kind, missing column and wrong encoding each say what to do."""
    with pytest.raises(BadInputs, match="does not exist"):
        read_inputs(InputsSection(path=tmp_path / "no.csv"), SCHEMA)
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(BadInputs, match="of no known kind"):
        read_inputs(InputsSection(path=tmp_path / "a.xlsx"), SCHEMA)
    section = _csv(tmp_path / "a.csv", ROWS, header="message,gold,split")
    with pytest.raises(BadInputs, match="no column 'text'; it has 'message', 'gold', 'split'"):
        read_inputs(section, SCHEMA)
    (tmp_path / "b.csv").write_bytes("text\nol\xe9\n".encode("latin-1"))
    with pytest.raises(BadInputs, match=r"is not utf-8 .* set inputs\.encoding"):
        read_inputs(InputsSection(path=tmp_path / "b.csv"), SCHEMA)
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{"text": ')
    with pytest.raises(BadInputs, match="line 2 is not JSON"):
        read_inputs(InputsSection(path=tmp_path / "c.jsonl"), SCHEMA)
    (tmp_path / "d.parquet").write_bytes(b"PAR0 nothing")
    with pytest.raises(BadInputs, match=r"d\.parquet cannot be read"):
        read_inputs(InputsSection(path=tmp_path / "d.parquet"), SCHEMA)
    (tmp_path / "e").mkdir()
    with pytest.raises(BadInputs, match=r"without state\.json"):
        read_inputs(InputsSection(path=tmp_path / "e"), SCHEMA)
