"""The evaluation: every figure equals the plain definition, and says when it cannot be had."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from students.certify.evaluation import evaluate, risk_coverage
from students.certify.paired import paired
from students.certify.scoring import ece_null_band, score_ranking, share
from students.errors import BadInputs
from students.evaluation import Evaluation
from students.label.labelled import LabelledSet
from students.labels import LabelSchema
from students.metrics import metric_rows
from students.sections import PromiseSection

SCHEMA = LabelSchema(("a", "b", "c"))
PROMISE = PromiseSection(agreement=0.9)


def _set(n=600, gold=True, seed=0):
    """Draw a labelled set and a student that agrees with it on most rows."""
    rng = np.random.default_rng(seed)
    teacher_p = rng.dirichlet([0.3] * 3, n).astype(np.float32)
    student_p = 0.7 * teacher_p + 0.3 * rng.dirichlet([1] * 3, n)
    truth = np.where(rng.random(n) < 0.9, teacher_p.argmax(1), rng.integers(0, 3, n))
    labelled = LabelledSet(
        SCHEMA,
        tuple(f"text {i}" for i in range(n)),
        teacher_p * np.float32(0.9),
        np.full(n, 0.1, np.float32),
        np.zeros(n, bool),
        truth.astype(np.int32) if gold else np.full(n, -1, np.int32),
    )
    return labelled, student_p.astype(np.float32)


@pytest.fixture(scope="module")
def measured():
    """Measure one labelled set at threshold 0.6."""
    labelled, p = _set()
    return labelled, p, evaluate(p, labelled, (0.6,) * 3, "max_probability", PROMISE)


def test_rates_are_counts_over_all_test_rows(measured):
    """Agreement, escalation and cascade agreement equal their definitions."""
    labelled, p, got = measured
    kept, agree = p.max(1) >= 0.6, p.argmax(1) == labelled.teacher
    assert got.agreement.count == agree.sum()
    assert got.escalation.count == (~kept).sum()
    assert got.cascade_agreement.count == (~kept | agree).sum()
    assert got.kept_agreement.n == kept.sum()
    e, k = got.escalation.rate, got.kept_agreement.rate
    assert got.cascade_agreement.rate == pytest.approx((1 - e) * k + e)


def test_escalated_rows_take_the_teachers_answer_on_gold(measured):
    """The cascade's accuracy mixes kept student answers and escalated teacher answers."""
    labelled, p, got = measured
    cascade = np.where(p.max(1) >= 0.6, p.argmax(1), labelled.teacher)
    assert got.cascade.accuracy == pytest.approx((cascade == labelled.gold).mean())
    assert got.cascade.macro_f1 == pytest.approx(f1_score(labelled.gold, cascade, average="macro"))


def test_thresholds_are_per_predicted_class():
    """A class with a threshold above 1 is never answered by the student."""
    labelled, p = _set()
    got = evaluate(p, labelled, (0.0, 0.0, 2.0), "max_probability", PROMISE)
    assert got.escalation.count == (p.argmax(1) == 2).sum()


def test_without_gold_there_is_no_accuracy():
    """Agreement is never sold as accuracy."""
    labelled, p = _set(gold=False)
    got = evaluate(p, labelled, (0.5,) * 3, "max_probability", PROMISE)
    assert (got.n_gold, got.teacher.accuracy, got.cascade.macro_f1) == (0, None, None)
    assert got.teacher_minus_student is None
    assert got.retention is None


def test_paired_interval_matches_the_rowwise_bootstrap():
    """The multinomial shortcut gives the same interval as resampling rows one by one."""
    labelled, p = _set(300)
    gold, first, second = labelled.gold, labelled.teacher, p.argmax(1)
    got = paired(gold, first, second)
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(200):
        i = rng.integers(0, 300, 300)
        differences.append(
            f1_score(gold[i], first[i], average="macro")
            - f1_score(gold[i], second[i], average="macro")
        )
    low, high = np.quantile(differences, [0.025, 0.975])
    assert got.macro_f1.low == pytest.approx(low, abs=0.015)
    assert got.macro_f1.high == pytest.approx(high, abs=0.015)
    assert got.macro_f1.estimate == pytest.approx(
        f1_score(gold, first, average="macro") - f1_score(gold, second, average="macro")
    )
    assert got.only_first == ((first == gold) & (second != gold)).sum()


def test_identical_answers_have_no_difference():
    """An answerer against itself: interval [0, 0], p = 1."""
    gold = np.array([0, 1, 1, 0])
    got = paired(gold, gold, gold)
    assert (got.accuracy.low, got.accuracy.high, got.p_value) == (0.0, 0.0, 1.0)
    assert not got.accuracy.excludes_zero


def test_probability_scores_equal_their_formulas(measured):
    """NLL and Brier score the teacher's answer, KL its distribution scaled to its labels."""
    labelled, p, got = measured
    q = labelled.probabilities / labelled.probabilities.sum(1, keepdims=True)
    onehot = np.eye(3)[labelled.teacher]
    assert got.probabilities.nll == pytest.approx(
        log_loss(labelled.teacher, p.astype(float) / p.sum(1, keepdims=True, dtype=float)), rel=1e-4
    )
    assert got.probabilities.brier == pytest.approx(((p - onehot) ** 2).sum(1).mean(), rel=1e-5)
    assert got.probabilities.kl == pytest.approx((q * np.log(q / p)).sum(1).mean(), rel=1e-3)


@pytest.mark.parametrize(("n", "about"), [(200, 0.034), (1000, 0.016)])
def test_perfect_calibration_shows_an_ece_anyway(n, about):
    """The null band holds the binned ECE that perfectly calibrated scores show at this n."""
    low, high = ece_null_band(np.random.default_rng(0).uniform(0.5, 1, n))
    assert low < about < high or about == pytest.approx((low + high) / 2, rel=0.5)
    assert low > 0


def test_augrc_is_the_area_under_the_generalised_risk_curve():
    """The closed form by AUROC equals the mean of (kept and wrong) / n over all coverages."""
    rng = np.random.default_rng(0)
    score = rng.permutation(2000) / 2000
    agree = rng.random(2000) < 0.5 + score / 2
    area = (np.cumsum(~agree[np.argsort(-score)]) / 2000).mean()
    got = score_ranking(score, agree, np.full(2000, 50))
    assert got.augrc == pytest.approx(area, abs=1e-3)
    assert got.augrc_oracle < got.augrc


def test_ranking_of_a_flawless_student_has_no_auroc():
    """With nothing to separate the AUROC is None and all may be kept."""
    got = score_ranking(np.linspace(0, 1, 10), np.ones(10, bool), np.zeros(10))
    assert (got.auroc, got.augrc, got.coverage_at_promise) == (None, 0.0, 1.0)


def test_coverage_at_the_promise_never_splits_a_tie():
    """Rows of one score are kept together or not at all."""
    score = np.repeat([0.9, 0.5], 50)
    agree = np.r_[np.ones(75, bool), np.zeros(25, bool)]
    assert score_ranking(score, agree, np.full(100, 24)).coverage_at_promise == 0.5
    assert score_ranking(score, agree, np.full(100, 25)).coverage_at_promise == 1.0


def test_risk_coverage_curve_ends_at_the_raw_disagreement(measured):
    """The last point keeps everything; every band holds its point; the oracle lies below."""
    *_, got = measured
    last = got.risk_coverage[-1]
    assert last.coverage == 1.0
    assert last.risk == pytest.approx(1 - got.agreement.rate)
    assert last.oracle == pytest.approx(last.risk)
    for point in got.risk_coverage:
        assert point.low <= point.risk <= point.high
        assert point.oracle <= point.risk + 1e-12


def test_risk_coverage_curve_of_equal_scores_is_one_point():
    """Ties cannot be separated by a threshold: one point, everything kept."""
    (point,) = risk_coverage(np.full(40, 0.8), np.arange(40) % 2 == 0)
    assert (point.kept, point.risk, point.threshold) == (40, 0.5, 0.8)


def test_missed_counts_kept_answers_that_lose_the_teachers_label(measured):
    """Missed rows of a label are kept and answered otherwise; escalated ones are not missed."""
    labelled, p, got = measured
    kept, said = p.max(1) >= 0.6, p.argmax(1)
    for c, row in enumerate(got.classes):
        of_class = labelled.teacher == c
        assert row.missed.n == of_class.sum()
        assert row.missed.count == (of_class & kept & (said != c)).sum()


def test_suspects_are_the_most_confident_disagreements(measured):
    """Suspects come surest first and are disagreements all."""
    labelled, _, got = measured
    scores = [s.confidence for s in got.suspects]
    assert scores == sorted(scores, reverse=True)
    assert all(s.teacher == SCHEMA.names[labelled.teacher[s.row]] for s in got.suspects)
    assert all(s.teacher != s.student for s in got.suspects)
    assert sum(c.count for c in got.confusion) == got.n - got.agreement.count


def test_label_mass_is_reported_not_renormalised():
    """Unsure and truncated teacher answers are counted."""
    labelled, p = _set(100)
    other = np.full(100, 0.1, np.float32)
    other[:7] = 0.8
    unsure = LabelledSet(
        SCHEMA, labelled.texts, labelled.probabilities, other, other > 0.5, labelled.gold
    )
    got = evaluate(p, unsure, (0.5,) * 3, "margin", PROMISE).label_mass
    assert (got.unsure, got.truncated) == (7, 7)
    assert got.mean == pytest.approx(0.93 * 0.9 + 0.07 * 0.2)


def test_unusable_answers_agree_with_nobody():
    """The largest of their crumbs was taken for the teacher's label; kept or not, it is said."""
    labelled, p = _set(100)
    silent = np.arange(100) < 10
    some = replace(labelled, usable=~silent)
    got = evaluate(p, some, (0.6,) * 3, "max_probability", PROMISE)
    kept = p.max(1) >= 0.6
    assert got.label_mass.unusable == 10
    assert got.label_mass.unusable_escalated == (silent & ~kept).sum()
    assert got.agreement.count == ((p.argmax(1) == labelled.teacher) & ~silent).sum()
    assert sum(row.teacher for row in got.classes) == 90
    assert sum(one.count for one in got.confusion) == 90 - got.agreement.count
    said = {metric: value for _, metric, value in metric_rows(got, None)}
    assert said["no usable answer"].startswith("10 of 100; ")


def test_evaluation_survives_json(measured):
    """What is written in a bundle is what is read back."""
    *_, got = measured
    assert Evaluation.model_validate_json(got.model_dump_json()) == got


def test_a_class_that_never_occurs_survives_json():
    """A label without rows has no recall and no missed share, and JSON keeps that."""
    labelled, p = _set(200)
    rows = np.flatnonzero((labelled.teacher != 2) & (labelled.gold != 2))
    got = evaluate(p[rows], labelled.take(rows), (2.0,) * 3, "max_probability", PROMISE)
    assert got.classes[2].recall is None
    assert got.classes[2].missed is None
    assert got.kept_agreement is None
    assert Evaluation.model_validate_json(got.model_dump_json()) == got


def test_nan_probabilities_are_one_sentence():
    """A student that answers NaN is not evaluated around the hole."""
    labelled, p = _set(50)
    p[3] = np.nan
    with pytest.raises(BadInputs, match="1 of 50 test rows with NaN"):
        evaluate(p, labelled, (0.5,) * 3, "max_probability", PROMISE)


def test_no_test_rows_are_one_sentence():
    """An evaluation of nothing is refused."""
    labelled, p = _set(10)
    none = np.array([], dtype=int)
    with pytest.raises(BadInputs, match="no test rows"):
        evaluate(p[none], labelled.take(none), (0.5,) * 3, "max_probability", PROMISE)


def test_share_has_the_exact_interval():
    """95 % observed in 1,000 rows is [.935, .963]."""
    got = share(950, 1000)
    assert (round(got.low, 3), round(got.high, 3)) == (0.935, 0.963)
