"""The certificate's arithmetic: exact, monotone where it must be, honest where it refuses."""

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binom

from costmodel.intervals import upper_bound
from students.certificate import LEAST_KEPT, NEVER
from students.certify.binomial import allowed_disagreements, rows_to_prove
from students.certify.certify import certify, grid_from_scores, spent
from students.certify.thresholds import first_testable
from students.errors import BadInputs, NotCertifiable
from students.sections import ClassPromiseSection as Of
from students.sections import PromiseSection

SYSTEM = PromiseSection(agreement=0.95, confidence=0.9, promise="system")
STRICT = PromiseSection(agreement=0.95, confidence=0.9, promise="strict")


def _rows(n, rng, slope=0.4):
    """Draw scores in [0, 1] and labels that agree more often the higher the score."""
    scores = rng.random(n)
    agree = rng.random(n) < np.minimum(1.0, 1 - slope * (1 - scores) ** 2)
    return scores, np.zeros(n, int), np.where(agree, 0, 1)


def _certify(rows, promise, **options):
    return certify(*rows, promise, labels=("a", "b"), **options)


@settings(deadline=None)
@given(st.integers(1, 3000), st.floats(0.005, 0.4), st.sampled_from([0.01, 0.05, 0.1]))
def test_allowed_disagreements_is_where_the_exact_bound_crosses_alpha(n, alpha, delta):
    """That many disagreements keep the Clopper-Pearson bound at alpha or below, one more not."""
    k = int(allowed_disagreements(n, alpha, delta))
    if k >= 0:
        assert upper_bound(k, n, delta) <= alpha + 1e-9
    assert upper_bound(k + 1, n, delta) > alpha - 1e-9


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 500))
def test_upper_bound_is_scipys_exact_interval(n, k):
    """The bound equals scipy's one-sided exact binomial interval."""
    k = min(k, n)
    exact = stats.binomtest(k, n, alternative="less").proportion_ci(0.95, "exact").high
    assert float(upper_bound(k, n, 0.05)) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    ("agreement", "flawless"), [(0.90, 29), (0.95, 59), (0.98, 149), (0.99, 299)]
)
def test_flawless_sample_size_is_ln_delta_over_ln_agreement(agreement, flawless):
    """That many flawless rows certify, one fewer do not."""
    alpha = 1 - agreement
    assert rows_to_prove(alpha, 0.05) == flawless
    assert allowed_disagreements([flawless - 1, flawless], alpha, 0.05).tolist() == [-1, 0]


@pytest.mark.parametrize(("alpha", "rate", "about"), [(0.05, 0.02, 237), (0.02, 0.01, 1056)])
def test_rows_to_prove_has_the_power_it_claims(alpha, rate, about):
    """From that many rows on the test passes in 80 % of samples or more, one fewer does not."""
    n = rows_to_prove(alpha, 0.05, rate)
    power = stats.binom.cdf(allowed_disagreements([n - 1, n], alpha, 0.05), [n - 1, n], rate)
    assert power[0] < 0.8 <= power[1]
    assert about <= n <= 1.25 * about


def test_rows_to_prove_is_none_when_the_rate_is_too_high():
    """No number of rows proves what is false."""
    assert rows_to_prove(0.05, 0.05, 0.05) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(100, 1500), st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_system_threshold_is_the_lowest_that_keeps_the_bound(n, seed, slope):
    """The bound holds at the deployed threshold and breaks at every lower calibration score."""
    scores, predicted, teacher = _rows(n, np.random.default_rng(seed), slope)
    got = certify(scores, predicted, teacher, SYSTEM, labels=("a", "b", "c"))
    assert got.thresholds == (got.thresholds[0],) * 3
    accepted = scores >= got.thresholds[0]
    wrong = predicted != teacher
    assert got.n_accepted == accepted.sum()
    assert got.disagreements == (accepted & wrong).sum()
    assert got.agreement_lower_bound >= SYSTEM.agreement
    lower = scores[scores < got.thresholds[0]]
    if lower.size:
        more = ((scores >= lower.max()) & wrong).sum()
        assert upper_bound(more, n, got.delta_spent) > SYSTEM.alpha


def test_system_promise_met_by_every_row_answers_everything():
    """A student that never disagrees gets threshold 0 and full coverage."""
    got = _certify((np.linspace(0, 1, 200), np.zeros(200, int), np.zeros(200, int)), SYSTEM)
    assert got.thresholds == (0.0, 0.0)
    assert got.coverage == 1.0
    # The bound of what was allowed, not of the flawless sample: it holds whatever was chosen.
    allowed = allowed_disagreements(200, SYSTEM.alpha, 0.05)
    assert got.agreement_lower_bound == pytest.approx(1 - upper_bound(allowed, 200, 0.05))
    assert got.agreement_lower_bound >= SYSTEM.agreement


@pytest.mark.parametrize(
    ("n", "everything", "surest"),
    [(3000, 0.05, 0.0132), (240, 0.051, 0.03), (240, 0.07, 0.049), (600, 0.0501, 0.0)],
)
def test_the_printed_bound_holds_with_tied_scores(n, everything, surest):
    """Exact enumeration over two tied scores: the printed bound is wrong with at most delta."""
    promise = PromiseSection(agreement=0.95, confidence=0.9)  # the first use spends .05
    scores = np.repeat([0.9, 0.5], n // 2)

    def printed(high: int, low: int) -> tuple[float, float]:
        """The bound, and the true agreement at the threshold that is deployed."""
        differs = np.zeros(n, int)
        differs[:high] = 1
        differs[n // 2 : n // 2 + low] = 1
        try:
            got = _certify((scores, np.zeros(n, int), differs), promise)
        except NotCertifiable:
            return 0.0, 1.0
        return got.agreement_lower_bound, 1 - (everything if got.thresholds[0] <= 0.5 else surest)

    allowed = int(allowed_disagreements(n, 0.05, 0.05))
    wrong = 0.0
    # Everything is answered while both scores together stay within what is allowed.
    for seen in range(allowed + 1):
        bound, truth = printed(min(seen, n // 2), seen - min(seen, n // 2))
        wrong += binom.pmf(seen, n, everything) * (bound > truth)
    # Else the surest half alone, where that does.
    for high in range(allowed + 1):
        beyond = binom.sf(allowed - high, n - high, (everything - surest) / (1 - surest))
        bound, truth = printed(high, allowed + 1 - high)
        wrong += binom.pmf(high, n, surest) * beyond * (bound > truth)
    assert wrong <= 0.05


@pytest.mark.parametrize("rate", [0.03, 0.04, 0.047])
def test_rows_to_prove_is_the_last_that_falls_short_and_one(rate):
    """Near the line, too: one row fewer lacks the power, and no larger number does."""
    n = rows_to_prove(0.05, 0.025, rate)
    sizes = np.arange(n - 1, n + 400)
    power = binom.cdf(allowed_disagreements(sizes, 0.05, 0.025), sizes, rate)
    assert power[0] < 0.8 <= power[1:].min()


def test_ties_at_the_boundary_are_all_refused():
    """Rows that share the score of the disagreement too many are not accepted with it."""
    scores = np.repeat([0.9, 0.5], 100)
    wrong = np.r_[np.zeros(100, int), np.ones(100, int)]
    got = _certify((scores, np.zeros(200, int), wrong), SYSTEM)
    assert got.thresholds[0] == 0.9
    assert (got.n_accepted, got.disagreements) == (100, 0)


def test_strict_stops_at_the_first_failure_and_never_comes_back():
    """A good region behind a bad one is out of reach of the fixed sequence."""
    scores = np.linspace(1, 0, 2000)
    wrong = np.zeros(2000, int)
    wrong[800:1000] = 1
    got = _certify((scores, np.zeros(2000, int), wrong), STRICT, grid=grid_from_scores(scores))
    assert got.coverage == pytest.approx(0.40, abs=0.01)
    assert got.disagreements == 0


def test_strict_deploys_the_last_pass():
    """The grid runs to full coverage when every test passes."""
    scores = np.linspace(1, 0.2, 1000)
    got = _certify(
        (scores, np.zeros(1000, int), np.zeros(1000, int)), STRICT, grid=grid_from_scores(scores)
    )
    assert got.thresholds[0] == 0.0
    assert got.coverage == 1.0
    assert got.agreement_lower_bound == STRICT.agreement


def test_strict_needs_a_grid_from_other_rows():
    """The strict promise without a grid is refused: a grid from these rows would be a leak."""
    with pytest.raises(BadInputs, match="grid_from_scores"):
        _certify(_rows(500, np.random.default_rng(0)), STRICT)


def test_the_start_of_the_sequence_depends_on_n_and_grid_only():
    """Leading points without enough rows are left out before any calibration row is seen."""
    grid = grid_from_scores(np.linspace(0, 1, 1000))
    few = first_testable(300, 0.05, 0.05, grid)
    many = first_testable(3000, 0.05, 0.05, grid)
    enough = stats.binom.sf(58, 300, grid.coverages)
    assert enough[few] >= 0.99 > enough[few - 1]
    assert many == 0


def test_rows_that_score_low_do_not_move_the_start_of_the_sequence():
    """The first point keeps none of these flawless rows: it fails, and no later one is tried."""
    grid = grid_from_scores(np.linspace(0, 1, 1000))
    scores, same = np.linspace(0, 0.3, 300), np.zeros(300, int)
    with pytest.raises(NotCertifiable):
        _certify((scores, same, same), STRICT, grid=grid)
    assert _certify((np.linspace(0, 1, 300), same, same), STRICT, grid=grid).coverage == 1.0


def test_grid_is_coverages_from_ten_to_a_hundred_percent():
    """The grid's coverages are 10, 15, …, 100 % and its last threshold keeps everything."""
    grid = grid_from_scores(np.random.default_rng(0).permutation(1000) / 1000)
    assert grid.coverages == pytest.approx(np.arange(10, 101, 5) / 100)
    assert grid.thresholds[-1] == 0.0
    assert (np.diff(grid.thresholds) < 0).all()


def test_grid_of_equal_scores_has_no_repeated_point():
    """Ties shrink the grid instead of testing the same rows again."""
    grid = grid_from_scores(np.full(50, 0.7))
    assert grid.thresholds.tolist() == [0.7, 0.0]
    assert grid.coverages.tolist() == [1.0, 1.0]


def test_each_use_of_the_same_rows_spends_half_of_what_is_left():
    """All uses together never spend more than delta, and later ones certify less."""
    assert spent(0.1, 1) == 0.05
    assert sum(spent(0.1, use) for use in range(1, 60)) <= 0.1
    rows = _rows(1000, np.random.default_rng(1))
    first, tenth = (_certify(rows, SYSTEM, use=use) for use in (1, 10))
    assert tenth.delta_spent == first.delta_spent / 512
    assert tenth.coverage < first.coverage


def test_use_is_counted_from_one():
    """Use 0 would spend the whole delta at once and is refused."""
    with pytest.raises(BadInputs, match="use is 0"):
        spent(0.1, 0)


def test_nan_confidence_is_never_accepted():
    """Rows without a confidence count in n and are escalated."""
    scores, predicted, teacher = _rows(1000, np.random.default_rng(2), slope=0.0)
    scores[:100] = math.nan
    got = _certify((scores, predicted, teacher), SYSTEM)
    assert (got.n_calibration, got.n_accepted) == (1000, 900)


def test_too_few_rows_are_refused_with_the_number_that_would_do():
    """72 flawless rows certify 95 % at 97.5 %, the spent confidence of use 1 at 95 %; 71 do not."""
    promise = PromiseSection(agreement=0.95, confidence=0.95)
    flawless = [(np.linspace(0, 1, n), np.zeros(n, int), np.zeros(n, int)) for n in (72, 71)]
    assert _certify(flawless[0], promise).n_accepted == 72
    with pytest.raises(NotCertifiable) as caught:
        _certify(flawless[1], promise)
    refusal = caught.value.refusal
    # One disagreement is expected in so few rows, and the next look spends half of this one's.
    assert refusal.rows_needed == rows_to_prove(0.05, 0.0125, 1 / 73) > 72
    assert f"label about {refusal.rows_needed} calibration rows" in refusal.statement
    assert refusal.best_agreement == pytest.approx(0.025 ** (1 / 71))
    assert refusal.minimum_escalation == 0.0


def test_a_refusal_says_how_many_inputs_to_add_and_what_they_cost():
    """Every 7th input becomes a calibration row, an input has cost 2 cents; a coverage is named."""
    flawless = (np.linspace(0, 1, 71), np.zeros(71, int), np.zeros(71, int))
    with pytest.raises(NotCertifiable) as caught:
        _certify(flawless, PromiseSection(agreement=0.95, confidence=0.95))
    refusal = caught.value.refusal.in_inputs(0.15, Decimal("0.02"))
    missing = refusal.rows_needed - 71
    assert refusal.rows_missing == missing
    assert refusal.inputs_missing == math.ceil(missing / 0.15)
    assert refusal.usd_needed == refusal.inputs_missing * Decimal("0.02")
    assert (
        f"about {refusal.inputs_missing:,} more inputs, about ${refusal.usd_needed:,.2f} "
        f"({missing} of them become calibration rows), which would probably keep 100% of the "
        "traffic"
    ) in refusal.statement


@pytest.mark.parametrize(("promise", "times"), [(SYSTEM, 80), (STRICT, 60)])
def test_rows_that_were_advised_bring_the_coverage_that_was_named(promise, times):
    """Whoever follows the advice keeps about what it named, more often than not."""
    rng = np.random.default_rng(7)
    grid = grid_from_scores(rng.random(2000))
    followed = kept = 0
    while followed < 100:
        rows = _rows(40, rng, 0.15)
        try:
            _certify(rows, promise, grid=grid)
        except NotCertifiable as refused:
            advice = refused.refusal
            if advice.rows_missing is None:
                continue
            more = _rows(advice.rows_missing, rng, 0.15)
            both = [np.concatenate(pair) for pair in zip(rows, more, strict=True)]
            followed += 1
            try:
                got = _certify(both, promise, grid=grid, use=2)
            except NotCertifiable:
                continue
            kept += got.coverage >= 0.8 * advice.target_coverage
    assert kept >= times


def test_a_class_without_rows_asks_for_rows_of_it():
    """Nothing is known of a class that the teacher never gave: more rows are what would help."""
    promise = SYSTEM.model_copy(update={"per_class": {"b": Of(agreement=0.9)}})
    rows = np.linspace(0, 1, 300), np.zeros(300, int), np.zeros(300, int)
    with pytest.raises(NotCertifiable, match=r"calls 'b'.* nothing can be said.* label") as it:
        _certify(rows, promise)
    assert it.value.refusal.rows_needed > 300 * rows_to_prove(0.1, 0.0125)


def test_next_to_nothing_kept_says_what_more_rows_would_bring():
    """A student that keeps 1 row of 37 comes with an outlook, one that keeps 40 % does not."""
    few, enough = (
        _certify(
            (np.linspace(1, 0, n), np.zeros(n, int), (np.arange(n) % every == 1).astype(int)),
            PromiseSection(agreement=0.9, confidence=0.9),
        )
        for n, every in ((37, 3), (400, 5))
    )
    assert few.coverage < LEAST_KEPT <= enough.coverage
    assert enough.outlook is None
    assert "255 calibration rows, which would probably keep 11% of the" in few.outlook.advice
    hopeless = few.outlook.model_copy(update={"target_coverage": 0.02})
    assert "keep only about 2.0% of the traffic: train a better student" in hopeless.advice


def test_a_hopeless_student_is_refused_and_more_rows_are_not_advised():
    """A student worse than the promise everywhere: the refusal says what must escalate."""
    rng = np.random.default_rng(3)
    scores, wrong = rng.random(4000), (rng.random(4000) < 0.12).astype(int)
    grid = grid_from_scores(rng.random(2000))
    with pytest.raises(NotCertifiable, match="train a better student") as caught:
        _certify((scores, np.zeros(4000, int), wrong), STRICT, grid=grid)
    refusal = caught.value.refusal
    assert refusal.rows_needed is None
    assert refusal.raw_disagreement == wrong.mean()
    assert refusal.minimum_escalation == pytest.approx((wrong.mean() - 0.05) / 0.95)
    assert 0.8 < refusal.best_agreement < 0.95


def test_bad_luck_at_the_surest_rows_asks_for_fresh_ones():
    """A later point of the grid would pass, but the sequence stopped: as many fresh rows may do."""
    scores = np.linspace(1, 0, 2000)
    wrong = np.zeros(2000, int)
    wrong[:50] = 1
    with pytest.raises(NotCertifiable, match="label about 2,000 fresh calibration rows") as caught:
        _certify((scores, np.zeros(2000, int), wrong), STRICT, grid=grid_from_scores(scores))
    assert caught.value.refusal.best_agreement > STRICT.agreement
    assert caught.value.refusal.rows_missing == 2000


def test_refusal_is_json():
    """Every number of a refusal is a field."""
    with pytest.raises(NotCertifiable) as caught:
        _certify((np.ones(10), np.zeros(10, int), np.ones(10, int)), SYSTEM)
    assert '"n_calibration":10' in caught.value.refusal.model_dump_json()


@pytest.mark.parametrize("n", [0, 5])
def test_shapes_are_checked(n):
    """No rows, or arrays that do not match, are one clear sentence."""
    with pytest.raises(BadInputs):
        certify(np.zeros(n), np.zeros(n, int), np.zeros(0, int), SYSTEM, labels=("a", "b"))


@pytest.mark.parametrize("promise", [SYSTEM, STRICT])
def test_broken_promises_stay_within_delta(promise):
    """Over 400 deployments on a curve with a known truth, few enough promises break."""
    rng = np.random.default_rng(4)
    grid = grid_from_scores(rng.random(2000))
    broken = deployed = 0
    for _ in range(400):
        try:
            t = _certify(_rows(400, rng), promise, grid=grid).thresholds[0]
        except NotCertifiable:
            continue
        deployed += 1
        # Integral of slope * (1 - s)^2 over s >= t: the mass that is kept and wrong.
        mass = 0.4 * (1 - t) ** 3 / 3
        broken += (mass if promise is SYSTEM else mass / (1 - t)) > promise.alpha
    assert deployed > 200
    assert broken / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def _two_classes(n, rng, slope=0.3):
    """Draw a student of two classes whose answer `a` is often wrong and `b` seldom."""
    scores, predicted = rng.random(n), (rng.random(n) < 0.8).astype(int)
    risk = np.where(predicted == 0, slope * (1 - scores), 0.2 * slope * (1 - scores))
    return scores, predicted, np.where(rng.random(n) < risk, 1 - predicted, predicted)


def test_system_promise_on_a_class_raises_the_other_answers_only():
    """Answer b can lose an a; answer a cannot: the promise on a raises b's threshold alone."""
    rows = _two_classes(4000, np.random.default_rng(5))
    plain = _certify(rows, SYSTEM)
    apart = _certify(rows, SYSTEM.model_copy(update={"per_class": {"a": Of(agreement=0.97)}}))
    assert apart.thresholds[0] <= plain.thresholds[0] + 0.05
    assert apart.thresholds[1] > plain.thresholds[1]
    (one,) = apart.per_class
    scores, predicted, teacher = rows
    missed = (predicted == 1) & (teacher == 0) & (scores >= apart.thresholds[1])
    assert (one.label, one.n, one.disagreements) == ("a", (teacher == 0).sum(), missed.sum())
    assert upper_bound(one.disagreements, one.n, apart.delta_spent / 2) <= 0.03


def test_promise_on_a_class_that_cannot_be_kept_names_the_class():
    """The refusal says which class, on how many of its rows, and how many rows would do."""
    rows = _two_classes(300, np.random.default_rng(6))
    promise = SYSTEM.model_copy(update={"per_class": {"a": Of(agreement=0.999)}})
    with pytest.raises(NotCertifiable, match="agreement on what the teacher calls 'a'") as caught:
        _certify(rows, promise)
    refusal = caught.value.refusal
    assert refusal.n_calibration == (rows[2] == 0).sum()
    assert refusal.rows_needed > 3000


def test_promise_on_a_class_without_rows_is_refused_as_such():
    """No calibration row of the class: nothing can be said, and about how many would do."""
    rows = (np.linspace(0, 1, 300), np.zeros(300, int), np.zeros(300, int))
    promise = SYSTEM.model_copy(update={"per_class": {"b": Of(agreement=0.9)}})
    with pytest.raises(NotCertifiable, match="from 0 calibration rows; nothing can be said"):
        _certify(rows, promise)


def test_strict_class_that_fails_is_never_answered():
    """A class whose own sequence fails at once always escalates; the others are served."""
    rng = np.random.default_rng(7)
    rows, other = _two_classes(3000, rng, slope=1.0), _two_classes(3000, rng, slope=1.0)
    promise = STRICT.model_copy(update={"per_class": {"a": Of(agreement=0.99)}})
    got = _certify(rows, promise, grid=grid_from_scores(*other[:2]))
    assert got.thresholds[0] == NEVER
    assert got.thresholds[1] < 1
    assert got.per_class[0].n == 0


def test_strict_promises_by_class_need_predicted_labels_in_the_grid():
    """Each class has a sequence of its own, so the grid must know the classes."""
    promise = STRICT.model_copy(update={"per_class": {"a": Of(agreement=0.99)}})
    with pytest.raises(BadInputs, match="predicted"):
        _certify(
            _two_classes(500, np.random.default_rng(8)),
            promise,
            grid=grid_from_scores(np.linspace(0, 1, 100)),
        )


def test_strict_class_promise_below_the_overall_one_is_refused_in_the_task():
    """The overall promise would not follow from a weaker one on a class."""
    with pytest.raises(ValueError, match="at least as much"):
        PromiseSection(agreement=0.95, promise="strict", per_class={"a": {"agreement": 0.9}})
    assert PromiseSection(agreement=0.95, per_class={"a": {"agreement": 0.9}}).per_class
