"""Real inputs from files; tests/e2e/test_tables.py walks the kinds."""

import pytest

from loadtests.errors import BadRows
from loadtests.inputs.rows import AnswersFile, Row, read_answers, rows_of
from loadtests.inputs.spec import load_spec


def _spec(path):
    return load_spec(url="http://127.0.0.1:9", rate=1, inputs=path)


def test_rows_keep_their_position(tmp_path):
    """Blank texts are left out and the others keep the row number that they have in the file."""
    path = tmp_path / "rows.csv"
    path.write_text('text,gold\nfirst,a\n"  ",b\n"third, with\nnewline",c\n', encoding="utf-8")
    assert rows_of(_spec(path)) == [Row(0, "first"), Row(2, "third, with\nnewline")]


def test_answers_are_the_words_that_the_labels_stand_for(tmp_path):
    """A file names labels; the teacher says its words for them. No answer is no reference."""
    path = tmp_path / "answers.csv"
    path.write_text("text,label\nx,a\ny,b\nz,\n", encoding="utf-8")
    file = AnswersFile(path, "text", "label")
    assert read_answers(file, ("a", "b"), ("A1", "B2")) == {"x": "A1", "y": "B2"}


def test_an_answer_that_is_no_label_is_one_sentence(tmp_path):
    """It names the line, what stands there and what may."""
    path = tmp_path / "answers.csv"
    path.write_text("text,label\nx,a\ny,c\n", encoding="utf-8")
    with pytest.raises(BadRows, match=r"answers.csv line 3 has the answer 'c'; .* one of a, b"):
        read_answers(AnswersFile(path, "text", "label"), ("a", "b"), ("a", "b"))
