"""The shipped fakes do what they are told."""

import asyncio

import pytest

from students.errors import TeacherThrottled
from students.labels import LabelSchema
from students.testing import ScriptedStudent, ScriptedTeacher

SCHEMA = LabelSchema(("no", "yes"))


async def test_scripted_teacher_answers_faults_and_counts():
    """Faults come first, one a call; answers follow; calls and concurrency are counted."""
    teacher = ScriptedTeacher(
        SCHEMA,
        lambda text: "yes" if "!" in text else (0.8, 0.2),
        latency_s=0.01,
        faults=[TeacherThrottled("slow down", 0.5)],
    )
    with pytest.raises(TeacherThrottled):
        await teacher.label(["a"])
    replies = await asyncio.gather(teacher.label(["a!", "b"]), teacher.label(["c"]))
    assert [r.wording for r in replies[0]] == ["yes", "no"]
    assert teacher.calls == [("a",), ("a!", "b"), ("c",)]
    assert (teacher.peak, teacher.in_flight) == (2, 0)


def test_scripted_student_answers_and_raises():
    """Names and probabilities become predictions; NaN is passed on; an error is raised."""
    student = ScriptedStudent(
        SCHEMA,
        lambda t: {"n": (float("nan"), 0.5), "x": ValueError("poison")}.get(t, "yes"),
    )
    sure, nan = student.predict(["a", "n"])
    assert (sure.label, sure.confidence) == (1, 1.0)
    assert nan.confidence != nan.confidence
    assert student.predict([]) == []
    with pytest.raises(ValueError, match="poison"):
        student.predict(["x"])
