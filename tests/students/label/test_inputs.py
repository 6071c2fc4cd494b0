"""Inputs are read, cleaned and divided without leaks."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from students.errors import BadInputs
from students.label.inputs import SPLITS, make_inputs, near_copy_key, read_inputs, split_inputs
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


def test_empty_rows_and_copies_are_dropped_and_counted(tmp_path):
    """An empty text and an exact copy do not stay, and the counts say so."""
    rows = [("a b", "", ""), ("  ", "", ""), (" a b ", "", ""), ("c", "", "")]
    inputs = read_inputs(_csv(tmp_path / "a.csv", rows), SCHEMA)
    assert inputs.texts == ("a b", "c")
    assert (inputs.dropped.empty, inputs.dropped.duplicates) == (1, 1)


def test_of_two_copies_the_held_out_one_stays(tmp_path):
    """A text that is in train and in test is only a test row."""
    rows = [("same", "", "train"), ("same", "", "test"), ("other", "", "train")]
    inputs = read_inputs(_csv(tmp_path / "a.csv", rows), SCHEMA)
    assert inputs.texts == ("same", "other")
    assert inputs.split == ("test", "train")


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


def test_split_is_deterministic_complete_and_near_its_shares():
    """The same seed gives the same split; every row is in exactly one; shares are kept."""
    inputs = make_inputs([f"text {w} {w}" for w in _words(2000)])
    split = split_inputs(inputs, seed=3)
    again = split_inputs(inputs, seed=3)
    other = split_inputs(inputs, seed=4)
    assert list(split) == list(SPLITS)
    assert all((split[s] == again[s]).all() for s in SPLITS)
    assert split["test"].tolist() != other["test"].tolist()
    assert sorted(np.concatenate(list(split.values()))) == list(range(2000))
    assert [len(split[s]) for s in SPLITS] == [1100, 200, 100, 300, 300]


def test_near_duplicates_never_straddle_splits():
    """Trap: near-duplicates across splits. Copies up to case, marks and numbers stay together."""
    words = _words(300)
    texts = [t for w in words for t in (f"Ticket 12 {w}!", f"ticket 7:  {w.upper()}")]
    split = split_inputs(make_inputs(texts), seed=0)
    home = {int(i): name for name, rows in split.items() for i in rows}
    assert len(home) == 600
    assert all(home[2 * i] == home[2 * i + 1] for i in range(300))


def test_a_near_copy_of_a_judged_row_never_stays_in_train():
    """A given train row whose near-copy is a given test row is dropped; the test row stays."""
    texts = ["Pay $5", "pay 6", "hello", "HELLO!", "free"]
    split = split_inputs(
        make_inputs(texts, None, ["train", "test", "calibration", "test", "train"])
    )
    assert split["train"].tolist() == [4]
    assert split["test"].tolist() == [1, 3]
    assert split["calibration"].tolist() == [2]


def test_a_free_near_copy_of_a_given_row_is_not_dealt():
    """A row without a split never joins a split that the file fixed, nor leaks beside it."""
    split = split_inputs(make_inputs(["one", "One!", "two"], None, ["test", None, None]))
    assert sorted(np.concatenate(list(split.values())).tolist()) == [0, 2]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["Pay 1", "pay 22!", "PAY  3", "hello", "Hello?", "free", "a b", "A-B"]
            ),
            st.sampled_from([None, *SPLITS]),
        ),
        min_size=1,
        unique_by=lambda row: row[0],
    ),
    st.integers(0, 5),
)
def test_no_learnt_row_is_a_near_copy_of_a_judged_one(rows, seed):
    """Whatever splits are given, a group has rows of one level only, and given rows keep theirs."""
    inputs = make_inputs([text for text, _ in rows], None, [split for _, split in rows])
    split = split_inputs(inputs, seed=seed)
    home = {int(i): name for name, rows in split.items() for i in rows}
    levels = {}
    for i, name in home.items():
        level = "judged" if name in ("calibration", "test") else name
        levels.setdefault(near_copy_key(inputs.texts[i]), set()).add(level)
        assert inputs.split[i] in (None, name)
    assert all(len(found) == 1 for found in levels.values())
    judged = [i for i, name in enumerate(inputs.split) if name in ("calibration", "test")]
    assert all(home[i] == inputs.split[i] for i in judged)


def test_fractions_must_make_sense():
    """Shares that do not sum to 1 or name another split are refused."""
    inputs = make_inputs(["a", "b"])
    with pytest.raises(BadInputs, match="sum to 1"):
        split_inputs(inputs, {"train": 0.5, "test": 0.4})
    with pytest.raises(BadInputs, match="fractions"):
        split_inputs(inputs, {"train": 0.5, "dev": 0.5})


def test_texts_without_letters_are_still_told_apart():
    """A text of marks only is its own key; other scripts keep their letters."""
    assert near_copy_key("?!") != near_copy_key("...")
    assert near_copy_key("水をください") != near_copy_key("助けて")
    assert near_copy_key("Ａ１") == near_copy_key("a 9".replace(" ", ""))


def _words(n):
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [letters[i % 26] + letters[i // 26 % 26] + letters[i // 676] for i in range(n)]
