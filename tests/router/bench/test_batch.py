"""The bench of tables measures a real job on a real file."""

import pyarrow.parquet as pq

from router.bench.batch import make_table, measure, write_task


def test_a_task_of_ones_own_is_measured(tmp_path):
    """Its own bundle answers, its thresholds decide, and its work_dir stays as it was."""
    make_table(tmp_path / "in.parquet", 10_000)
    task = write_task(tmp_path, tmp_path / "in.parquet", 0.05)
    other = tmp_path / "elsewhere"
    other.mkdir()
    figures = measure(other, tmp_path / "in.parquet", 2, task)
    assert figures["student"] == "linear"
    assert 400 < figures["answered"]["teacher, low_confidence"] < 600
    assert (other / "out").exists()
    assert {path.name for path in (tmp_path / ".raisehand").iterdir()} == {"bundles"}


def test_a_small_table_is_answered_and_measured(tmp_path):
    """Every row is answered, about the share asked for by the teacher; the figures are whole."""
    make_table(tmp_path / "in.parquet", 10_000)
    texts = pq.read_table(tmp_path / "in.parquet")["text"].to_pylist()
    assert len(set(texts)) > 9_900
    task = write_task(tmp_path, tmp_path / "in.parquet", 0.05)
    figures = measure(tmp_path, tmp_path / "in.parquet", 2, task)
    assert figures["rows"] == 10_000
    assert 400 < figures["answered"]["teacher, low_confidence"] < 600
    assert figures["texts_per_s"] > 0
    assert figures["peak_rss_mb"] > 0
    assert pq.read_table(tmp_path / "out", partitioning=None)["text"].to_pylist() == texts
