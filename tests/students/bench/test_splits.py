"""`raisehand bench splits`: given splits beside random rows, a first look each."""

import csv
import json

import pytest
import yaml
from click.testing import CliRunner

from students.bench.splits import SplitFigures, splits, table_of


@pytest.mark.torch
def test_given_splits_and_random_rows_are_compared(
    make_labels, split_rows, keep_labels, make_task, tmp_path
):
    """Three students, each certified on a first look; the task's own ledger is not touched."""
    data = make_labels()
    keep_labels(tmp_path, data, split_rows)
    name = {int(row): split for split, rows in split_rows.items() for row in rows}
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "split"])
        rows.writerows([text, name[i]] for i, text in enumerate(data.texts))
    document = make_task(tmp_path, agreement=0.9).model_dump(mode="json", exclude_unset=True)
    document["inputs"] = {"path": "in.csv", "split": "split"}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    result = CliRunner().invoke(splits, ["--task", str(tmp_path / "task.yaml"), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    found = report["splits"]
    assert [one["judges"] for one in found] == [
        "as given", "random rows, seed 0", "random rows, seed 1",
    ]  # fmt: skip
    assert (found[0]["n_calibration"], found[0]["n_test"]) == (400, 200)
    assert found[1]["n_calibration"] == pytest.approx(0.15 * len(data), rel=0.2)
    assert all(one["certified"] for one in found)
    assert not (tmp_path / "certificates.jsonl").exists()


def test_the_table_is_markdown():
    """A line each, as the pages of measurements hold it."""
    share = {"count": 9, "n": 10, "rate": 0.9, "low": 0.5, "high": 0.99}
    one = SplitFigures("as given", 2_600, 2_585, True, share, share, share, None)
    assert table_of([one]).splitlines()[-1] == (
        "| as given | 2,600, 2,585 | 90.0% (50.0 to 99.0) | 90.0% (50.0 to 99.0) "
        "| 90.0% (50.0 to 99.0) | – |"
    )
