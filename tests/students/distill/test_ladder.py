"""`student: auto`: every rung is reported, the best buy is taken."""

from dataclasses import replace
from decimal import Decimal

import pytest

from students.distill.ladder import Rung, choose, climb
from students.distill.worth import saves_nothing, usd_per_request
from students.errors import BadTask
from students.runtime.bundle import LabellingBill, find_bundle
from students.teachers.protocol import TeacherDescriptor

TEACHER = TeacherDescriptor("classify", "scripted", "1", "", "{}")
BILL = LabellingBill(n=1000, usd="1", price="$1 per 1,000")


@pytest.fixture(scope="module")
def done(make_task, make_labels, split_rows, tmp_path_factory):
    """A certified linear student, its task and where it lies."""
    folder = tmp_path_factory.mktemp("ladder")
    task = make_task(folder, agreement=0.9)
    ladder = climb(task, make_labels(), split_rows, teacher=TEACHER, labelling=BILL)
    return task, ladder


@pytest.mark.torch
def test_one_family_is_a_ladder_of_one_rung(done):
    """The named family and nothing else."""
    task, ladder = done
    assert [r.distilled.bundle.manifest.family for r in ladder.rungs] == ["linear"]
    assert ladder.chosen == find_bundle_of(task, ladder)


def find_bundle_of(task, ladder):
    """The chosen student must be the one that `latest` names."""
    assert find_bundle(task.work_dir) == ladder.chosen.bundle
    return ladder.rungs[0].distilled


@pytest.mark.torch
def test_a_request_costs_its_time_and_its_escalations(done):
    """c7i.large-hour / measured texts per second + what calibration escalates × $1 per 1,000."""
    task, ladder = done
    one = ladder.chosen
    m = one.bundle.manifest
    hour = Decimal("0.36")
    priced = task.model_copy(
        update={
            "student": task.student.model_copy(
                update={
                    "price": task.student.price.model_copy(
                        update={"machine": None, "usd_per_hour": hour}
                    )
                }
            )
        }
    )
    expected = float(hour) / 3600 / m.profile.texts_per_s + 0.001 * (1 - m.certificate.coverage)
    assert float(usd_per_request(priced, one)) == pytest.approx(expected)


@pytest.mark.torch
def test_a_certificate_that_saves_nothing_says_why(done):
    """It keeps next to nothing of calibration or test, or a request costs as much with it."""
    task, ladder = done
    one = ladder.chosen

    def changed(coverage=1.0, escalation=0.0, usd="1"):
        m = one.bundle.manifest
        rate = m.evaluation.escalation.model_copy(update={"rate": escalation})
        update = {
            "certificate": m.certificate.model_copy(update={"coverage": coverage}),
            "evaluation": m.evaluation.model_copy(update={"escalation": rate}),
            "labelling": BILL.model_copy(update={"usd": Decimal(usd)}),
        }
        return replace(one, bundle=replace(one.bundle, manifest=m.model_copy(update=update)))

    assert saves_nothing(task, one) is None
    assert "keeps 2.0% of the calibration rows" in saves_nothing(task, changed(coverage=0.02))
    assert "and 0.0% of the test rows" in saves_nothing(task, changed(escalation=1.0))
    assert "1,000 requests cost $0" in saves_nothing(task, changed(usd="1e-12"))
    assert saves_nothing(task, changed(usd="0")) is None
    assert saves_nothing(task, replace(one, refusal=object())) is None


@pytest.mark.torch
def test_the_certified_rung_of_least_cost_is_chosen(done):
    """An uncertified student is never chosen over a certified one, whatever it costs."""
    _, ladder = done
    cheap = ladder.rungs[0]
    dear = Rung(replace(cheap.distilled), Decimal(9))
    refusal = object()
    free = Rung(replace(cheap.distilled, refusal=refusal), Decimal(0))
    assert choose((free, cheap, dear)) is cheap.distilled
    assert choose((free, dear)) is dear.distilled


def test_auto_needs_an_encoder_to_climb_to(make_task, make_labels, split_rows, tmp_path):
    """Without encoder_path, `auto` says what to add."""
    task = make_task(tmp_path, student={"family": "auto"})
    with pytest.raises(BadTask, match="encoder_path is missing"):
        climb(task, make_labels(), split_rows, teacher=TEACHER)


@pytest.mark.torch
def test_auto_climbs_every_rung_and_counts_each_look(
    make_task, make_labels, split_rows, tiny_encoder, tmp_path
):
    """Linear, encoder and, where installed, int8: certified in this order, one use each."""
    task = make_task(
        tmp_path,
        student={
            "family": "auto", "encoder_path": tiny_encoder, "temperatures": [1], "epochs": 1,
        },
        agreement=0.9,
    )  # fmt: skip
    ladder = climb(task, make_labels(), split_rows, teacher=TEACHER, labelling=BILL)
    manifests = [r.distilled.bundle.manifest for r in ladder.rungs]
    assert [m.family for m in manifests][:2] == ["linear", "encoder"]
    uses = [m.certificate.use for m in manifests if m.certificate]
    assert uses == sorted(set(uses))
    assert find_bundle(tmp_path) == ladder.chosen.bundle
    assert ladder.chosen.refusal is None
