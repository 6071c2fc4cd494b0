"""Another threshold, replayed: it says what serving under it would have shown."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from router.cli import main
from router.errors import BadLedger
from router.insight.replay import replay
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import sample_entry


def traffic(n, served, rates, seed=0):
    """Requests as a router at threshold `served` books them; truth known to the test alone.

    The less sure the student, the more often it is wrong. `rates`: of audits, one half each.
    """
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1.0, n)
    wrong = rng.random(n) < 0.5 * (1 - confidence)
    entries = []
    for i, (score, differs) in enumerate(zip(confidence, wrong, strict=True)):
        rate = rates[2 * i // n]
        drawn, kept = rng.random() < rate, score >= served
        asked = not kept or drawn
        entries.append(
            sample_entry(
                at=float(i),
                request_id=f"r-{i}",
                confidence=float(score),
                route=Route.STUDENT if kept else Route.TEACHER,
                reason=Reason.CONFIDENT if kept else Reason.LOW_CONFIDENCE,
                student_label="urgent",
                teacher_label=("calm" if differs else "urgent") if asked else None,
                audited=kept and drawn,
                propensity=rate if drawn else 0.0,
                attempts=int(asked),
            )
        )
    return entries, confidence, wrong


def store(path, entries):
    """Write a ledger."""
    ledger = SqliteLedger(path)
    for entry in entries:
        ledger.append(entry)
    ledger.close()


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.4, 0.05)])
def test_intervals_cover_the_truth_above_and_below_what_was_served(tmp_path, rates):
    """Stricter and looser than the router was, also where the rate of audits changed."""
    grid, missed = (0.4, 0.6, 0.8, 0.95), 0
    for life in range(20):
        path = tmp_path / f"{life}.sqlite"
        entries, confidence, wrong = traffic(4_000, 0.7, rates, seed=life)
        store(path, entries)
        for one in replay(path, "urgent", grid).thresholds:
            above = confidence >= one.threshold
            assert one.kept.value == pytest.approx(above.mean())
            for portion, truth in (
                (one.disagreement, (wrong & above).mean()),
                (one.of_kept, wrong[above].mean()),
            ):
                low, high = portion.interval
                missed += not low <= truth <= high
    assert missed <= 8  # of 160; 95 % each would allow as many


def test_what_was_lost_makes_it_say_nothing(tmp_path):
    """Audits that did not come back are not taken for agreement."""
    path = tmp_path / "ledger.sqlite"
    drawn = {"propensity": 0.5, "student_label": "urgent"}
    lost = [sample_entry(request_id=f"l{i}", **drawn) for i in range(6)]
    told = [
        sample_entry(request_id=f"t{i}", audited=True, teacher_label="urgent", **drawn)
        for i in range(94)
    ]
    store(path, lost + told)
    found = replay(path, "urgent", [0.5])
    assert (found.drawn, found.lost, found.valid) == (100, 6, False)
    assert found.thresholds[0].disagreement is None


def test_no_label_at_the_teacher_is_a_disagreement(tmp_path):
    """As in audits and certificates."""
    path = tmp_path / "ledger.sqlite"
    store(
        path,
        [sample_entry(propensity=1.0, audited=True, student_label="urgent", teacher_label="")],
    )
    [one] = replay(path, "urgent", [0.5]).thresholds
    assert (one.disagreement.count, one.disagreement.n) == (1, 1)


def test_the_last_bundle_is_replayed_unless_another_is_named(tmp_path):
    """Confidences of two students are two scales."""
    path = tmp_path / "ledger.sqlite"
    store(
        path,
        [
            sample_entry(at=1.0, bundle="old", student_label="urgent"),
            sample_entry(at=2.0, bundle="new", student_label="urgent"),
            sample_entry(at=3.0, bundle="new", student_label="urgent", reason=Reason.STUDENT_ONLY),
            sample_entry(at=4.0, bundle="new", student_label="urgent", surface="batch"),
        ],
    )
    assert replay(path, "urgent", [0.5]).bundle == "new"
    assert replay(path, "urgent", [0.5]).requests == 1
    assert replay(path, "urgent", [0.5], "old").requests == 1
    with pytest.raises(BadLedger, match="no answer of bundle other"):
        replay(path, "urgent", [0.5], "other")
    with pytest.raises(BadLedger, match="no answer of a student"):
        replay(path, "nobody", [0.5])


def test_the_command_prints_both_forms(tmp_path):
    """A table for people, JSON for programs; what it is not is said, too."""
    task = {
        "name": "urgent", "labels": ["calm", "urgent"], "work_dir": ".",
        "teacher": {
            "mode": "classify", "base_url": "http://127.0.0.1:9", "model": "m",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
        },
        "inputs": {"path": "inputs.csv"},
    }  # fmt: skip
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    store(tmp_path / "ledger.sqlite", traffic(2_000, 0.7, (0.2, 0.2))[0])
    asked = ["replay", "--task", str(tmp_path / "task.yaml"), "--threshold", "0.9"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert "no certificate" in done.output
    [one] = json.loads(CliRunner().invoke(main, [*asked, "--json"]).output)["thresholds"]
    assert one["threshold"] == 0.9
    both = one["disagreement"], one["disagreement_of_kept"]
    assert all(part["low"] <= part["value"] < part["high"] for part in both)
