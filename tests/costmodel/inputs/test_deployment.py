"""What money reads of a task file and a bundle, and what a what-if may change."""

import json
from decimal import Decimal

import pytest

from costmodel.bill.feasibility import feasible_deployment
from costmodel.errors import BadProjection
from costmodel.inputs.changes import parse_changes
from costmodel.inputs.deployment import (
    Deployment,
    at_threshold,
    with_changes,
)
from costmodel.inputs.taskfile import read_deployment
from costmodel.report.tables import judgement
from costmodel.whatif import project_deployment
from students.sections import StudentSection, TrafficSection
from students.task import Task


def test_counts_usage_and_labelling_come_from_the_bundle(task_file):
    """Everything measured is read from the manifest of the latest bundle."""
    got = read_deployment(task_file)
    assert got.bundle == "abc123"
    assert (got.evaluation.n, got.evaluation.escalated, got.evaluation.disagreements) == (
        2629,
        262,
        68,
    )
    assert got.one_off.labelling_usd == Decimal("1.37")
    assert (got.usage.input_tokens, got.usage.output_tokens) == (51.5, 2.0)
    assert got.certified_threshold == 0.83


def test_what_the_supplier_cached_of_the_labels_is_not_paid_again(task_file):
    """Four of five input tokens of the labelling came from a cache: so will those of the month."""
    labels = task_file.parent / ".raisehand" / "labels.json"
    usd = {}
    for cached in (0, 329_600):
        record = json.loads(labels.read_text())
        record["usage"]["cached_input_tokens"] = cached
        labels.write_text(json.dumps(record))
        got = read_deployment(task_file, changes={"teacher.price.model": "openai:gpt-4o"})
        assert got.usage.cached_input_tokens == cached / 8_000
        usd[cached] = project_deployment(got).rail("teacher_only").usd_per_month
    requests = Decimal(10_000_000) * 730 / 24
    # gpt-4o: 2.50 a million, 1.25 where cached
    saved = requests * Decimal("41.2") * Decimal("1.25") / 1_000_000
    assert float(usd[0] - usd[329_600]) == pytest.approx(float(saved))


def test_escalations_without_a_usable_answer_are_unanswered(task_file):
    """A what-if took each of them for an answer: evaluate said 45 of 45 unsure, it saved 98.8 %."""
    path = task_file.parent / ".raisehand" / "bundles" / "abc123" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["evaluation"]["label_mass"] = {"unusable": 140, "unusable_escalated": 131}
    path.write_text(json.dumps(manifest))
    got = read_deployment(task_file)
    assert got.unusable == 0.5
    before = with_changes(got, {"unusable": 0})
    found, else_ = (feasible_deployment(d, project_deployment(d)) for d in (got, before))
    assert 1 - found.unanswered == pytest.approx(0.5 * (1 - else_.unanswered))
    words = {name: value for name, value, _ in judgement(found).rows}
    assert words["no label was the teacher's answer to"] == "140 of 2,629 test rows"
    assert (found.why_unanswered, found.answers) == ("its answers are no label", False)


def test_defaults_are_those_of_the_task_file():
    """A field that the task file leaves out means the same here as for every other command."""
    fields = Deployment.model_fields
    assert fields["student"].default.price == StudentSection().price
    assert fields["student"].default.min_machines == StudentSection().min_machines
    assert fields["traffic"].default.requests_per_day == TrafficSection().requests_per_day
    assert fields["audit_rate"].default == Task.model_fields["audit_rate"].default


def test_a_change_is_applied_before_the_file_is_checked(task_file):
    """Numbers may be written as people write them; prices may change their form."""
    words = ["traffic.requests_per_day=1e6", "teacher.price.usd_per_mtok_input=1.5",
             "teacher.price.usd_per_mtok_output=3", "audit_rate=0"]  # fmt: skip
    got = read_deployment(task_file, changes=parse_changes(words))
    assert got.traffic.requests_per_day == 1_000_000
    assert got.teacher.price.model is None
    assert got.teacher.price.usd_per_mtok_input == Decimal("1.5")
    assert got.audit_rate == 0
    again = with_changes(got, {"teacher.price.model": "openai:gpt-4o"})
    assert again.teacher.price.model == "openai:gpt-4o"
    assert again.teacher.price.usd_per_mtok_input is None


def test_a_guess_needs_no_bundle(task_file):
    """With counts given, the month of a student that does not exist yet is projected."""
    (task_file.parent / ".raisehand" / "bundles" / "latest").unlink()
    changes = {"evaluation.n": 1000, "evaluation.escalated": 80, "usage.input_tokens": 300}
    got = read_deployment(task_file, changes=changes)
    assert got.bundle is None
    assert got.evaluation.escalated == 80


@pytest.mark.parametrize(
    ("threshold", "escalated", "wrong"),
    [(0.0, 0, 210), (0.83, 262, 68), (0.8300001, 789, 18), (0.95, 789, 18), (0.96, 2629, 0)],
)
def test_a_threshold_between_two_measured_ones_keeps_what_the_higher_one_keeps(
    task_file, threshold, escalated, wrong
):
    """Nothing is interpolated in the favour of the student; beyond the curve all escalates."""
    got = at_threshold(read_deployment(task_file), threshold).evaluation
    assert (got.escalated, got.disagreements) == (escalated, wrong)


def test_a_threshold_without_a_curve_is_refused(task_file):
    """Without a curve nobody knows what a threshold keeps."""
    bare = read_deployment(task_file, changes={"evaluation.n": 10, "evaluation.escalated": 1})
    with pytest.raises(BadProjection, match="no risk–coverage curve"):
        at_threshold(bare, 0.5)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("traffic.requests=3", "there is no field traffic.requests"),
        ("traffic.requests_per_day=-3", "traffic.requests_per_day"),
        ("traffic.requests_per_day=.nan", "traffic.requests_per_day"),
        ("nonsense", "'nonsense' is not field=value"),
        ("audit_rate=2", "audit_rate"),
        ("name.x.y=2", "name"),
    ],
)
def test_a_bad_change_is_one_sentence(task_file, setting, words):
    """The field, what was found, what is allowed."""
    with pytest.raises(BadProjection) as caught:
        read_deployment(task_file, changes=parse_changes([setting]))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        (json.dumps({"evaluation": {"n": 5}}), "evaluation.escalation is missing"),
    ],
)
def test_a_bad_manifest_is_one_sentence(task_file, manifest, words):
    """A manifest without an evaluation names the field that is missing."""
    (task_file.parent / ".raisehand" / "bundles" / "abc123" / "manifest.json").write_text(manifest)
    with pytest.raises(BadProjection) as caught:
        read_deployment(task_file)
    assert words in str(caught.value)


def test_unknown_bundle_names_the_ones_there_are(task_file):
    """A mistyped id is answered with the known ids."""
    with pytest.raises(BadProjection, match="there is abc123 in"):
        read_deployment(task_file, bundle="zzz")


def test_no_bundle_says_how_to_get_one_or_to_guess(tmp_path, task_file):
    """Before distilling there is nothing measured: the sentence offers both ways on."""
    lonely = tmp_path / "elsewhere"
    lonely.mkdir()
    (lonely / "task.yaml").write_text(task_file.read_text())
    with pytest.raises(BadProjection, match=r"raisehand distill.*evaluation\.n=1000"):
        read_deployment(lonely / "task.yaml")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_a_bad_task_file_is_one_sentence(tmp_path, text):
    """Whatever the file holds, one sentence comes back."""
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(BadProjection) as caught:
        read_deployment(path)
    assert str(path) in str(caught.value)


def test_tokens_of_other_labels_are_not_taken(task_file):
    """labels.json of a later labelling says nothing about this bundle's teacher calls."""
    labels = task_file.parent / ".raisehand" / "labels.json"
    labels.write_text(labels.read_text().replace("5ab1e5", "other"))
    got = read_deployment(task_file)
    assert got.usage is None
    with pytest.raises(BadProjection, match="nobody counted the teacher's tokens"):
        project_deployment(got)


def test_the_fields_read_here_are_those_that_are_written():
    """Manifest and labelling record really have the fields that money reads."""
    from students.evaluation import CountedShare, CurvePoint, Evaluation
    from students.label.record import LabellingRecord, LabelUsage
    from students.runtime.bundle import LabellingBill, Manifest

    assert {"evaluation", "labelling", "training_s", "profile"} <= set(Manifest.model_fields)
    assert {"usd", "labels_sha256"} <= set(LabellingBill.model_fields)
    assert {"n", "escalation", "cascade_agreement", "thresholds", "risk_coverage"} <= set(
        Evaluation.model_fields
    )
    assert {"count", "n"} <= set(CountedShare.model_fields)
    assert {"threshold", "kept", "disagreements"} <= set(CurvePoint.model_fields)
    assert {"labels_sha256", "usage"} <= set(LabellingRecord.model_fields)
    assert {"input_tokens", "output_tokens", "requests"} <= set(LabelUsage.model_fields)


def test_training_time_is_paid_like_a_student_machine(task_file):
    """Half an hour of training on a machine of 0.08925 dollars an hour is part of the one-off."""
    before = project_deployment(read_deployment(task_file)).break_even.one_off_usd
    after = project_deployment(
        read_deployment(task_file, changes={"training_s": 1800})
    ).break_even.one_off_usd
    assert after - before == Decimal("0.044625")
