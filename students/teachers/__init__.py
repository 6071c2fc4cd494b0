"""Teachers: one protocol, one prompt and one client for labelling and for serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from students.teachers.protocol import Teacher, TeacherDescriptor, TeacherReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from students.task import Task

__all__ = ["Teacher", "TeacherDescriptor", "TeacherReply", "make_teacher"]


def make_teacher(task: Task, *, orders: Sequence[bool] | None = None) -> Teacher:
    """Return the teacher that the task names; nothing is sent before it is asked.

    `orders` overrides, in chat mode, the option orders that answers are averaged over: True is
    reversed.

    Raises:
        BadTask: its API key is not in the environment.
    """
    mode = task.teacher.mode
    if mode == "classify":
        from students.teachers.classify import ClassifyTeacher

        return ClassifyTeacher(task)
    if mode == "local":
        from students.teachers.owned.process import LocalTeacher

        return LocalTeacher(task)
    if mode == "decisions":
        from students.teachers.decisions import DecisionsTeacher

        return DecisionsTeacher(task)
    if mode == "text":
        from students.teachers.text import TextTeacher

        return TextTeacher(task)
    from students.teachers.chat import ChatTeacher

    return ChatTeacher(task, orders=orders)
