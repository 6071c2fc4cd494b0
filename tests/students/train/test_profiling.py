"""How fast a student is: timed often where that is quick, and not for minutes where it is not."""

import pytest

from students.labels import LabelSchema
from students.testing import ScriptedStudent
from students.train.profiling import BATCHES, REPEATS, profile_student


@pytest.mark.parametrize(("text_s", "largest"), [(0.001, 1 + REPEATS), (0.01, 1 + 2)])
def test_a_line_is_fitted_and_slow_students_are_asked_less_often(text_s, largest):
    """A second a hundred texts: its largest batch is tried once and timed twice, not five times."""
    now, asked = [0.0], []

    def says(text):
        now[0] += text_s
        return 1.0, 0.0

    class Student(ScriptedStudent):
        def predict(self, texts):
            asked.append(len(texts))
            now[0] += 0.005
            return super().predict(texts)

    student = Student(LabelSchema(("a", "b")), says)
    profile = profile_student(student, ["a text"] * 300, (), clock=lambda: now[0])
    assert asked.count(BATCHES[-1]) == largest
    assert profile.fixed_s == pytest.approx(0.005)
    assert profile.per_token_s * profile.mean_tokens == pytest.approx(text_s)
