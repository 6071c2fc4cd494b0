"""Real inputs from files."""

import pytest

from loadtests.errors import BadRows
from loadtests.inputs.rows import Row, read_pairs, read_rows


def test_csv_rows_keep_their_position(tmp_path):
    """Blank texts are left out and the others keep the row number that they have in the file."""
    path = tmp_path / "rows.csv"
    path.write_text('text,gold\nfirst,a\n"  ",b\n"third, with\nnewline",c\n', encoding="utf-8")
    assert read_rows(path, "text") == [Row(0, "first"), Row(2, "third, with\nnewline")]


def test_jsonl_rows_are_read(tmp_path):
    """A JSONL file with any columns works; a text that is no string is left out."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "é"}\n\n{"q": 5}\n{"q": "z"}\n', encoding="utf-8")
    assert read_rows(path, "q") == [Row(0, "é"), Row(2, "z")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.csv", None, "does not exist"),
        ("rows.txt", "text\nx\n", "not a .csv or .jsonl"),
        ("rows.csv", "message\nx\n", "no column 'text'; its columns are message"),
        ("rows.csv", "text\n", "no text in column"),
        ("rows.jsonl", "{text: 1}\n", "cannot be read as jsonl"),
        ("rows.jsonl", "[1]\n", "line 1 .* is no JSON object"),
    ],
)
def test_bad_file_is_one_sentence(tmp_path, name, content, words):
    """A file that cannot be used says what was found and what is needed."""
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(BadRows, match=words):
        read_rows(path, "text")


def test_pairs_map_texts_to_answers(tmp_path):
    """Two columns become a mapping for the fake teacher."""
    path = tmp_path / "answers.csv"
    path.write_text("text,label\nx,a\ny,b\n", encoding="utf-8")
    assert read_pairs(path, "text", "label") == {"x": "a", "y": "b"}
