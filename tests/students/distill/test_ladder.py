"""`student: auto`: every rung is reported, the best buy is taken."""

from dataclasses import replace
from decimal import Decimal

import pytest

from costmodel.bill.baselines import UsdBand
from costmodel.intervals import binomial_interval
from costmodel.money.pricing import PriceSpec
from students.distill.ladder import Rung, _int8_may_pay, choose, climb
from students.distill.run import take_parts
from students.distill.worth import bill_of, saves_nothing
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
    ladder = climb(
        task, take_parts(task, make_labels(), split_rows), teacher=TEACHER, labelling=BILL
    )
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


def _changed(one, coverage=1.0, escalation=0.0, usd="1", texts_per_s=1e6):
    """The student as if it kept, escalated, cost and ran so."""
    m = one.bundle.manifest
    n = m.certificate.n_calibration
    rate = m.evaluation.escalation.model_copy(update={"rate": escalation})
    kept = {"coverage": coverage, "n_accepted": round(coverage * n)}
    update = {
        "certificate": m.certificate.model_copy(update=kept),
        "evaluation": m.evaluation.model_copy(update={"escalation": rate}),
        "labelling": BILL.model_copy(update={"usd": Decimal(usd)}),
        "profile": m.profile.model_copy(update={"texts_per_s": texts_per_s}),
    }
    return replace(one, bundle=replace(one.bundle, manifest=m.model_copy(update=update)))


def _section(task, name, **changes):
    section = getattr(task, name).model_copy(update=changes)
    return task.model_copy(update={name: section})


@pytest.mark.torch
def test_a_month_costs_its_machines_its_escalations_and_its_audits(done):
    """Whole machines by this student's own speed, and $1 per 1,000 asked, at the task's traffic."""
    task, ladder = done
    price = task.student.price.model_copy(update={"machine": None, "usd_per_hour": Decimal("0.36")})
    task = _section(_section(task, "student", price=price), "traffic", requests_per_day=1e6)
    requests = 1e6 * 730 / 24
    asked = requests * 0.001 * (0.2 + 0.01 * 0.8)
    fast = bill_of(task, _changed(ladder.chosen, coverage=0.8))
    assert float(fast.mid) == pytest.approx(2 * 0.36 * 730 + asked)
    # 1e6 a day is 11.57 a second, 54.6 in the busiest moment at .7: 6 machines that carry 10.
    slow = bill_of(task, _changed(ladder.chosen, coverage=0.8, texts_per_s=10.0))
    assert float(slow.mid - fast.mid) == pytest.approx(4 * 0.36 * 730)
    low, high = binomial_interval(80, 400)
    assert float(fast.high - fast.low) == pytest.approx(requests * 0.001 * 0.99 * (high - low))
    assert bill_of(task, replace(ladder.chosen, refusal=object())) is None


@pytest.mark.torch
def test_a_teacher_by_the_hour_is_paid_by_whole_machines(done):
    """A teacher of one's own costs at least the machine that must be there to be asked."""
    task, ladder = done
    hour = PriceSpec(usd_per_hour=2, requests_per_second=50)
    task = _section(task, "teacher", price=hour)
    one, other = (bill_of(task, _changed(ladder.chosen, coverage=c)) for c in (1.0, 0.99))
    assert one.mid == other.mid > 2 * 730


@pytest.mark.torch
def test_a_certificate_that_saves_nothing_says_why(done):
    """It keeps next to nothing of calibration or test, or a month costs as much with it."""
    task, ladder = done
    one = ladder.chosen

    def changed(**how):
        return _changed(one, **how)

    assert saves_nothing(task, one) is None
    assert "keeps 2.0% of the calibration rows" in saves_nothing(task, changed(coverage=0.02))
    assert "and 0.0% of the test rows" in saves_nothing(task, changed(escalation=1.0))
    assert "a month of 304,166,667 requests costs $" in saves_nothing(task, changed(usd="1e-12"))
    assert "and $0.00 without it" in saves_nothing(task, changed(usd="1e-12"))
    assert saves_nothing(task, changed(usd="0")) is None
    assert saves_nothing(task, replace(one, refusal=object())) is None


def _bill(mid):
    return UsdBand(low=Decimal(mid), mid=Decimal(mid), high=Decimal(mid))


@pytest.mark.torch
def test_the_certified_rung_of_least_cost_is_chosen(done):
    """An uncertified student is never chosen over a certified one, whatever it costs."""
    _, ladder = done
    one = ladder.chosen
    cheap = Rung("linear", one, _bill(5))
    dear = Rung("frozen", replace(one), _bill(9))
    free = Rung("blend", replace(one, refusal=object()), None)
    assert choose((free, cheap, dear)) is cheap
    assert choose((free, dear)) is dear
    keeps_more = Rung("frozen", _changed(one, coverage=1.0), None)
    assert choose((Rung("linear", _changed(one, coverage=0.5), None), keeps_more)) is keeps_more


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "coverage", "texts_per_s", "pays"),
    [
        ("blend", 0.9, 100.0, True),  # many machines, which a faster runtime could save
        ("blend", 0.9, 1e6, False),  # two are kept anyway
        ("linear", 0.9, 100.0, False),  # nothing to export
    ],
)
def test_int8_is_climbed_where_it_could_save_machines(done, name, coverage, texts_per_s, pays):
    """An export escalates the same; all it can save is machines."""
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    task, ladder = done
    one = _changed(ladder.chosen, coverage=coverage, texts_per_s=texts_per_s)
    assert _int8_may_pay(task, Rung(name, one, bill_of(task, one))) is pays


@pytest.mark.torch
def test_auto_stops_where_the_next_student_cannot_pay(make_task, make_labels, split_rows, tmp_path):
    """A linear student that escalates nothing leaves nothing to save: no encoder is even read."""
    student = {"family": "auto", "encoder_path": tmp_path / "there is none"}
    task = make_task(tmp_path, student=student, agreement=0.9)
    ladder = climb(
        task, take_parts(task, make_labels(), split_rows), teacher=TEACHER, labelling=BILL
    )
    assert [rung.name for rung in ladder.rungs] == ["linear"]
    assert ladder.stopped.startswith("frozen was not tried: a month would cost $")
    assert ladder.stopped.endswith("with linear")


def test_auto_needs_an_encoder_to_climb_to(make_task, make_labels, split_rows, tmp_path):
    """Without encoder_path, `auto` says what to add."""
    task = make_task(tmp_path, student={"family": "auto"})
    with pytest.raises(BadTask, match="encoder_path is missing"):
        climb(task, take_parts(task, make_labels(), split_rows), teacher=TEACHER)


@pytest.mark.torch
def test_auto_climbs_every_rung_and_counts_each_look(
    make_task, make_labels, split_rows, tiny_encoder, tmp_path
):
    """Linear, frozen, blend, encoder: certified in this order, one use each, all in the table."""
    task = make_task(
        tmp_path,
        student={
            "family": "auto", "encoder_path": tiny_encoder, "temperatures": [1], "epochs": 1,
        },
        agreement=0.8,
    )  # fmt: skip
    labels = make_labels(noise=0.4)
    ladder = climb(task, take_parts(task, labels, split_rows), teacher=TEACHER, labelling=BILL)
    assert [rung.name for rung in ladder.rungs] == ["linear", "frozen", "blend", "encoder"]
    assert ladder.stopped is None
    manifests = [r.distilled.bundle.manifest for r in ladder.rungs]
    uses = [m.certificate.use for m in manifests if m.certificate]
    assert uses == sorted(set(uses))
    assert find_bundle(tmp_path) == ladder.chosen.bundle
    assert ladder.chosen.refusal is None
    bills = [r.bill.mid for r in ladder.rungs if r.bill]
    assert min(bills) == next(r.bill.mid for r in ladder.rungs if r.distilled is ladder.chosen)
