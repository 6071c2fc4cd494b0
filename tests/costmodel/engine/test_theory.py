"""The event loop against exact queueing theory: 12 seeds, inside their own interval."""

import pytest

from costmodel.bench.theory import cases, table

CASES = cases(100_000)
WIDE = {"M/M/100, load 90: wait": 0.25}
"""Half width of the interval, relative; waits at 90 % of a large pool are rare and scatter."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_exact_value_lies_in_the_interval(case):
    """Within the 99 % interval of 12 seeds, which is narrow enough to tell; Little's law holds."""
    seen, runs = case.run(range(12))
    assert seen.low <= case.exact <= seen.high
    assert (seen.high - seen.low) / 2 <= WIDE.get(case.name, 0.15) * case.exact
    for run in runs.results:
        assert run.little.student_residual < 1e-9
        assert run.little.teacher_residual < 1e-9
        assert run.counts["requests"] == sum(
            run.counts[route] for route in ("student", "teacher", "degraded", "refused")
        )


def test_known_values_are_the_ones_simulated():
    """The exact values are those derived independently: formula and loop cannot err alike."""
    known = (
        4.0, 0.745541, 0.064020, 0.021694, 2.0, 0.7 / 0.3 * 1.49 / 2, 2.55250, 6.30995, 1.58886,
        0.98976, 1.66502, 4.13889, 0.97510, 1.05555,
    )  # fmt: skip
    assert [case.exact for case in CASES[: len(known)]] == pytest.approx(known, rel=3e-5)


def test_the_table_for_the_documentation_has_every_case():
    """The published table is made from the same cases."""
    rows = table(2_000, range(2))
    assert [row["case"] for row in rows] == [case.name for case in CASES]
    assert all(row["little"] < 1e-9 for row in rows)
