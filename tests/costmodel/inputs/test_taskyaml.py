"""Labels are words, whatever YAML takes them for; everything else is what YAML says."""

import pytest
import yaml

from costmodel.inputs.taskfile import read_deployment
from costmodel.inputs.taskyaml import parse_task
from loadtests.inputs.taskfile import read_task
from students.errors import BadTask
from students.task import load_task

REST = """
name: odd
teacher: {mode: classify, base_url: "http://127.0.0.1:9", model: m, extra_body: {labels: [1, no]},
  price: {usd_per_mtok_input: 1, usd_per_mtok_output: 0}}
inputs: {path: none.csv}
"""
ODD = {
    "labels: [0, 1, 2]": ["0", "1", "2"],
    "labels: [01, 1e3, 1_000]": ["01", "1e3", "1_000"],
    "labels: [true, false]": ["true", "false"],
    "labels: [yes, NO, off]": ["yes", "NO", "off"],
    "labels: [2026-11-01, 1.0]": ["2026-11-01", "1.0"],
    "labels: {1: a, 2: b}": {"1": "a", "2": "b"},
    "labels: {yes: 1, no: }": {"yes": "1", "no": ""},
    "labels:\n- 'null'\n- null_island": ["null", "null_island"],
}


@pytest.mark.parametrize("labels", ODD)
def test_every_reader_of_a_task_takes_labels_as_words(tmp_path, labels):
    """Labelling, distilling, serving and load tests know the same names."""
    path = tmp_path / "task.yaml"
    path.write_text(labels + REST)
    expected = ODD[labels]
    assert list(load_task(path).schema_.names) == list(expected)
    assert list(read_task(path).labels) == list(expected)
    assert load_task(path).teacher.extra_body == {"labels": [1, False]}


def test_names_of_labels_elsewhere_are_words_too():
    """Answers and promises on classes name labels; what is promised stays a number."""
    read = parse_task(
        "labels: [1, no]\nteacher: {answers: {1: yes, no: 0}, hedge: yes}\n"
        "promise: {agreement: .95, per_class: {no: {agreement: .9}}}"
    )
    assert read == {
        "labels": ["1", "no"],
        "teacher": {"answers": {"1": "yes", "no": "0"}, "hedge": True},
        "promise": {"agreement": 0.95, "per_class": {"no": {"agreement": 0.9}}},
    }


@pytest.mark.parametrize("text", ["labels: [a, [1], null]", "labels: null", "[1]", "", "x: 1"])
def test_what_names_no_label_is_what_yaml_says(text):
    """Nothing is made up where labels are missing or no words."""
    assert parse_task(text) == yaml.safe_load(text)


def test_anchors_merge_as_ever():
    """A merge key is no label."""
    assert parse_task("base: &b {1: a}\nlabels: {<<: *b, 2: b}")["labels"] == {1: "a", "2": "b"}


@pytest.mark.parametrize(
    ("promise", "says"),
    [
        ("agreement: 95", "95 % is written 0.95"),
        ("agreement: 95%", "95 % is written 0.95"),
        ("confidence: 99.5", "99.5 % is written 0.995"),
        ("per_class: {a: {agreement: 90}}", "90 % is written 0.9"),
        ("agreement: 1", "less than 1"),
        ("agreement: 950", "less than 1"),
        ("agreement: high", "valid number"),
    ],
)
def test_a_share_given_in_per_cent_says_how_to_write_it(tmp_path, promise, says):
    """One sentence with the field and the number to write."""
    path = tmp_path / "task.yaml"
    path.write_text(f"labels: [a, b]\npromise: {{{promise}}}{REST}")
    with pytest.raises(BadTask, match=says):
        load_task(path)


def test_a_broken_file_is_one_sentence_for_every_reader(tmp_path):
    """No YAML is no task."""
    path = tmp_path / "task.yaml"
    path.write_text("labels: [a, b")
    for read in (load_task, read_task, read_deployment):
        with pytest.raises(Exception, match=r"task\.yaml") as caught:
            read(path)
        assert "\n" not in str(caught.value)
