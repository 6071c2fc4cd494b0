"""The evaluation page: the same figures as the terminal, with plots, self-contained."""

import numpy as np
import pytest

from students.certificate import Certificate, ClassPromise
from students.certify.evaluation import evaluate
from students.label.labelled import LabelledSet
from students.labels import LabelSchema
from students.metrics import metric_rows
from students.report import evaluation_page, reliability_figure, risk_coverage_figure
from students.sections import PromiseSection

CERTIFICATE = Certificate(
    promise="system",
    agreement=0.9,
    confidence=0.95,
    thresholds=(0.6, 0.6),
    n_calibration=1000,
    n_accepted=800,
    disagreements=70,
    agreement_lower_bound=0.9123,
    coverage=0.8,
    method="exact",
    teacher_model="MiniLM",
    teacher_revision="r1",
    teacher_mode="classify",
    artefact_sha256="a" * 64,
    calibration_sha256="b" * 64,
    use=1,
    date="2026-11-24",
)


def _measured(promise="system", gold=True, threshold=0.6):
    rng = np.random.default_rng(0)
    teacher = rng.dirichlet([0.4] * 2, 300).astype(np.float32)
    student = (0.7 * teacher + 0.3 * rng.dirichlet([1] * 2, 300)).astype(np.float32)
    labelled = LabelledSet(
        LabelSchema(("urgent", "not <urgent>")),
        tuple(f"message {i} & <b>help</b>" for i in range(300)),
        teacher,
        np.zeros(300, np.float32),
        np.zeros(300, bool),
        (teacher.argmax(1) if gold else np.full(300, -1)).astype(np.int32),
    )
    section = PromiseSection(agreement=0.9, promise=promise)
    measured = evaluate(student, labelled, (threshold,) * 2, "max_probability", section)
    return measured, labelled.texts


def test_page_shows_every_metric_row_and_two_plots():
    """What the terminal prints is on the page, with the plots inline and nothing loaded."""
    measured, texts = _measured()
    html = evaluation_page("messages", "abc123", measured, CERTIFICATE, texts).html()
    for _, metric, _ in metric_rows(measured, CERTIFICATE):
        assert metric.replace("'", "&#39;") in html
    assert html.count("<svg") == 2
    assert "0.9123" in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_page_escapes_texts():
    """Real messages and label names cannot break the page."""
    measured, texts = _measured()
    html = evaluation_page("messages", "abc123", measured, CERTIFICATE, texts).html()
    assert "<b>help</b>" not in html
    assert "&lt;b&gt;help" in html


def test_a_bundle_without_certificate_says_that_it_proves_nothing():
    """No certificate, no promise: in words."""
    measured, texts = _measured()
    html = evaluation_page("messages", "abc123", measured, None, texts).html()
    assert "nothing is promised" in html
    assert ("Promise", "certificate", "none: this bundle proves nothing") in metric_rows(
        measured, None
    )


def test_a_promise_on_a_class_is_shown_with_what_the_test_rows_say():
    """The certified class has its n, its disagreements and the share missed on test."""
    measured, _ = _measured()
    one = ClassPromise(
        label="urgent", agreement=0.98, n=170, disagreements=1, agreement_lower_bound=0.98
    )
    certificate = CERTIFICATE.model_copy(update={"per_class": (one,)})
    rows = {metric: value for _, metric, value in metric_rows(measured, certificate)}
    assert rows["certified on 'urgent'"] == "≥ 0.9800; calibration: n = 170, disagreed 1"
    missed = measured.classes[0].missed
    assert (
        f"({missed.count:,} of {missed.n:,})"
        in rows["texts the teacher calls 'urgent', answered otherwise, on test"]
    )
    assert "of all texts that the teacher calls 'urgent', at most 2.0%" in certificate.statement


def test_a_class_of_which_nothing_is_proved_is_no_promise():
    """A strict class that failed always escalates: "0 of 0" read as a promise that was kept."""
    one = ClassPromise(
        label="urgent", agreement=0.98, n=0, disagreements=0, agreement_lower_bound=0.98
    )
    certificate = CERTIFICATE.model_copy(update={"promise": "strict", "per_class": (one,)})
    assert "Nothing is proved of the answer 'urgent'" in certificate.statement
    assert "2.0%" not in certificate.statement
    measured, _ = _measured("strict")
    rows = {metric: value for _, metric, value in metric_rows(measured, certificate)}
    assert rows["certified on 'urgent'"] == "nothing: the teacher is asked instead"


def test_without_gold_the_block_says_agreement_only():
    """Accuracy is not printed where only teacher labels exist."""
    measured, _ = _measured(gold=False)
    values = [value for block, _, value in metric_rows(measured, None) if block == "Student"]
    assert "no gold labels: only agreement is known" in values


@pytest.mark.parametrize("promise", ["system", "strict"])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 2.0])
def test_figures_draw_at_any_operating_point(promise, threshold):
    """All kept, some kept or nothing kept: both figures draw."""
    measured, _ = _measured(promise, threshold=threshold)
    deployed = risk_coverage_figure(measured).axes[0].get_legend_handles_labels()[1]
    assert ("deployed" in deployed) == (threshold < 1)
    assert len(reliability_figure(measured).axes) == 2
