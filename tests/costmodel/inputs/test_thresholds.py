"""A threshold moves escalation one way only, whatever curve an evaluation left."""

from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.inputs.deployment import CountTerms, Deployment, TeacherTerms, at_threshold
from costmodel.money.pricing import PriceSpec

PRICE = PriceSpec(model="openai:gpt-4o")


@st.composite
def _deployments(draw):
    n = draw(st.integers(1, 500))
    thresholds = sorted(draw(st.lists(st.floats(0, 1), min_size=1, max_size=8, unique=True)))
    kept = sorted(
        draw(st.lists(st.integers(0, n), min_size=len(thresholds), max_size=len(thresholds))),
        reverse=True,
    )
    curve = tuple((t, k, draw(st.integers(0, k))) for t, k in zip(thresholds, kept, strict=True))
    return Deployment(
        name="any",
        teacher=TeacherTerms(price=PRICE),
        evaluation=CountTerms(n=n, escalated=0),
        curve=curve,
    )


@settings(max_examples=150, deadline=None)
@given(deployment=_deployments(), one=st.floats(0, 1), other=st.floats(0, 1))
def test_a_higher_threshold_never_escalates_less(deployment, one, other):
    """Between, on and beyond the measured thresholds."""
    low, high = sorted((one, other))
    first = at_threshold(deployment, low).evaluation
    second = at_threshold(deployment, high).evaluation
    assert second.escalated >= first.escalated
    assert 0 <= second.disagreements <= second.n - second.escalated
