"""Teachers: one protocol, one prompt and one client for labelling and for serving."""

from students.teachers.protocol import Teacher, TeacherDescriptor, TeacherReply

__all__ = ["Teacher", "TeacherDescriptor", "TeacherReply"]
