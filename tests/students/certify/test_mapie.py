"""An independent witness: MAPIE's fixed-sequence risk control on the same grid and rows."""

import numpy as np
import pytest
from scipy import stats

from students.certify.thresholds import first_testable, grid_from_scores, strict_threshold

risk_control = pytest.importorskip(
    "mapie.risk_control", reason="MAPIE is a development dependency: pip install mapie"
)

ALPHA, DELTA = 0.05, 0.1


def _rows(n, seed):
    rng = np.random.default_rng([n, seed])
    scores = rng.random(n)
    wrong = rng.random(n) < 0.25 * (1 - scores) ** 2
    grid = grid_from_scores(rng.random(1000))
    start = first_testable(n, ALPHA, DELTA, grid)
    return scores, wrong, grid, grid.thresholds[start:]


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("n", [300, 1000])
def test_fixed_sequence_is_mapies_on_exact_p_values(n, seed):
    """Given scipy's exact p-values, MAPIE's procedure passes the same points of the sequence."""
    from mapie.risk_control.fwer_control import control_fwer

    scores, wrong, grid, thresholds = _rows(n, seed)
    accepted = scores >= thresholds[:, None]
    p_values = [
        stats.binomtest(int((a & wrong).sum()), int(a.sum()), ALPHA, "less").pvalue
        for a in accepted
    ]
    valid = control_fwer(np.array(p_values), DELTA, "fixed_sequence")
    theirs = float(thresholds[valid[-1]]) if len(valid) else None
    assert strict_threshold(scores, wrong, ALPHA, DELTA, grid) == theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(20))
def test_mapies_controller_is_never_more_permissive(seed):
    """MAPIE rounds n × (1 − mean) up, so it may count one disagreement too many, never too few."""
    scores, wrong, grid, thresholds = _rows(1000, seed)
    agreement = risk_control.BinaryRisk(
        risk_occurrence=lambda y, accepted: y == 1,
        risk_condition=lambda y, accepted: accepted == 1,
        higher_is_better=True,
    )
    controller = risk_control.BinaryClassificationController(
        predict_function=lambda x: np.column_stack([1 - x, x]),
        risk=agreement,
        target_level=1 - ALPHA,
        confidence_level=1 - DELTA,
        best_predict_param_choice=agreement,
        list_predict_params=thresholds,
        fwer_method="fixed_sequence",
    )
    controller.calibrate(scores, (~wrong).astype(int))
    valid = controller.valid_predict_params
    ours = strict_threshold(scores, wrong, ALPHA, DELTA, grid)
    theirs = min(valid, default=np.inf)
    assert (np.inf if ours is None else ours) <= theirs
