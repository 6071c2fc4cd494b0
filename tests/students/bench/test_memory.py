"""The bench of memory: a pile that can be learnt, the commands themselves, and their peaks."""

import csv
import json

import pytest
from click.testing import CliRunner

from students.bench import memory as bench
from students.bench.memory import memory, write_pile


def test_texts_differ_and_each_has_one_topic(tmp_path):
    """Else rows would be dropped as copies, and the labels could not be learnt."""
    lexicon = bench._lexicon()
    topics = lexicon[:5]
    write_pile(tmp_path / "in.csv", 500, topics, lexicon[5:])
    with (tmp_path / "in.csv").open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    assert len(set(texts)) == 500
    assert all(sum(topic in text for topic in topics) == 1 for text in texts)


@pytest.mark.e2e
def test_labelling_and_distilling_are_measured_a_process_each(tmp_path):
    """Both peaks are those of whole interpreters, and stand in the file."""
    result = CliRunner().invoke(
        memory, ["--rows", "1000", "--labels", "3", "--out", str(tmp_path), "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))
    assert report["rows"] == 1000
    assert all(report[name]["peak_mb"] > 30 for name in ("label", "distill"))


def test_more_than_the_limit_is_exit_code_1(monkeypatch):
    """The figure is judged where it is made."""
    took = bench.MemoryFigures(bench.LIMIT_MB + 1.0, 1.0, 1.0)
    monkeypatch.setattr(bench, "measure", lambda *_: {"distill": took})
    assert CliRunner().invoke(memory, ["--rows", "1000"]).exit_code == 1
