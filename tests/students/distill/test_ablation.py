"""Paired comparison of targets."""

import numpy as np
import pytest
from click.testing import CliRunner

from students.commands.ablate import ablate as command
from students.distill.ablation import BASELINE, GOLD, HARD, SOFT, ablate
from students.distill.ablation_page import ablation_page, rungs_figure, verdict
from students.distill.judge import (
    JudgedAnswers,
    OutcomeJudge,
    Pool,
    drawn,
    judged,
)  # fmt: skip
from students.errors import BadTask


@pytest.fixture(scope="module")
def pool(make_labels, split_rows):
    """The easy labels with a tenth of the answers random."""
    data = make_labels(noise=0.1)
    learn = np.concatenate([split_rows["train"], split_rows["validation"]])
    return Pool(
        data.take(learn), data.take(split_rows["temperature"]), data.take(split_rows["test"])
    )


def test_a_smaller_budget_is_part_of_a_larger_one_and_never_validates(pool):
    """Curves compare nested sets, and no training row validates."""
    (few, validation), (many, _) = drawn(pool, 3, 50), drawn(pool, 3, 200)
    assert few.texts == many.texts[:50]
    assert not set(many.texts) & set(validation.texts)
    assert drawn(pool, 4, 50)[0].texts != few.texts


def test_a_difference_to_itself_is_exactly_zero_and_a_real_one_excludes_zero(pool):
    """Pairs cancel what they share: the interval of a difference is not that of one arm."""
    n = len(pool.test)
    rng = np.random.default_rng(0)

    def outcome(rate: float, noise: np.ndarray) -> JudgedAnswers:
        agree = noise < rate
        said = np.where(agree, pool.test.teacher, 1 - pool.test.teacher)
        return JudgedAnswers(agree, rng.random(n), rng.random(n), said)

    noise = [rng.random(n) for _ in range(3)]
    good, bad = [outcome(0.9, u) for u in noise], [outcome(0.8, u) for u in noise]
    judge = OutcomeJudge(pool.test, 0.03, 3)
    same = judge.measure(good, good).agreement
    assert (same.estimate, same.low, same.high) == (0.0, 0.0, 0.0)
    gap = judge.measure(good, bad).agreement
    assert gap.estimate == pytest.approx(0.1, abs=0.06)
    assert gap.excludes_zero


@pytest.mark.torch
def test_every_arm_and_curve_is_measured_and_drawn(pool):
    """All arms on all seeds; the page is one HTML with two figures and says whether soft helped."""
    seen = []
    perfect = judged(pool.test, pool.test.probabilities, pool.test.probabilities.max(axis=1))
    done = ablate(
        "demo", pool, 0.05, seeds=2, epochs=3, budgets=(100, 10**6), temperatures=(1.0, 2.0),
        finished={"an oracle": perfect}, progress=lambda n, of: seen.append((n, of)),
    )  # fmt: skip
    assert {SOFT, HARD, GOLD, BASELINE} < {arm.name for arm in done.arms}
    oracle = done.arms[-1]
    assert oracle.name == "an oracle"
    assert oracle.measured.agreement.low == 1
    assert oracle.measured.kl.high == pytest.approx(0, abs=1e-6)
    assert oracle.minus_baseline.agreement.excludes_zero
    assert sorted(seen)[-1] == (14, 14)
    assert [p.x for p in done.budgets] == [100, done.n_train]
    assert [p.x for p in done.temperatures] == [1, 2]
    soft = next(arm for arm in done.arms if arm.name == SOFT)
    assert soft.measured.agreement.estimate > 0.8
    assert soft.minus_hard.kl.high < 0.5
    html = ablation_page(done).html()
    assert html.count("<svg") == 2
    assert "2 seeds" in verdict(done)


@pytest.mark.torch
def test_rungs_are_trained_on_the_same_rows_and_drawn_in_one_plot(pool, tiny_encoder, tmp_path):
    """Frozen and blend: arms beside the others, and a label-budget curve each in one figure."""
    from functools import partial

    from students.distill.rungs import encoder_rungs

    seen = []
    others = partial(
        encoder_rungs, pool, tiny_encoder, tmp_path, temperatures=(1.0,), l2=(0.0,),
        progress=lambda n, of: seen.append((n, of)),
    )  # fmt: skip
    done = ablate(
        "demo", pool, 0.05, seeds=2, epochs=3, budgets=(100,), temperatures=(1.0,), others=others
    )
    assert {"frozen", "blend"} < {arm.name for arm in done.arms}
    assert [curve.name for curve in done.rungs] == ["linear", "frozen", "blend"]
    assert all([p.x for p in curve.points] == [100, done.n_train] for curve in done.rungs)
    assert done.rungs[0].points == done.budgets
    assert done.rungs[1].points[-1].measured.agreement.estimate > 0.7
    assert seen[-1] == (4, 4)
    assert ablation_page(done).html().count("<svg") == 3
    rungs_figure(done).savefig(tmp_path / "curves.svg")
    drawn = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in drawn for name in ("linear", "frozen", "blend"))


def test_a_plot_of_students_that_are_not_trained_is_refused():
    """--svg without --rungs is one sentence, before anything is read."""
    with pytest.raises(BadTask, match="add --rungs"):
        CliRunner().invoke(command, ["--svg", "x.svg"], catch_exceptions=False)
