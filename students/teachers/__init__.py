"""Teachers: one protocol, one prompt and one client for labelling and for serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from students.teachers.protocol import Teacher, TeacherDescriptor, TeacherReply

if TYPE_CHECKING:
    from students.task import Task

__all__ = ["Teacher", "TeacherDescriptor", "TeacherReply", "make_teacher"]


def make_teacher(task: Task) -> Teacher:
    """Return the teacher that the task names; nothing is sent before it is asked.

    Raises:
        BadTask: its API key is not in the environment.
    """
    if task.teacher.mode == "classify":
        from students.teachers.classify import ClassifyTeacher

        return ClassifyTeacher(task)
    from students.teachers.chat import ChatTeacher

    return ChatTeacher(task)
